//! The map with the daemon's own share of each count in LOAD.
//!
//! Connections of the proxy end with the process, which cannot count them out when it is killed. So
//! each count's share is kept in a map that outlives the process: what the next daemon finds in it
//! are connections that are gone. The kernel program does not know this map.

use std::{os::fd::OwnedFd, sync::atomic::Ordering};

use aya::maps::{Map, MapData};
use lb_common::abi::maps;

use super::{
    adoption::{AdoptionPlan, MapFate, duplicate},
    pins::Pins,
};
use crate::datapath::bpf::{
    error::DatapathError,
    mapped_array::{BPF_F_MMAPABLE, Mapped},
};
use crate::load::GENERATIONS;

pub(crate) const PERMITS: &str = "PERMITS";

/// `BPF_MAP_TYPE_ARRAY` in include/uapi/linux/bpf.h.
const ARRAY: u32 = 2;

/// Opens the map, with one word for each of LOAD's `slots` and each generation of processes. It
/// still holds what earlier processes left. Where it must be made anew, all of that becomes the
/// share of `generation`, which is this process's.
///
/// # Errors
///
/// A map cannot be created, read or mapped.
pub(crate) fn open(
    pins: &Pins,
    plans: &[AdoptionPlan],
    (slots, generation): (usize, usize),
    unnamed: &mut Vec<(String, OwnedFd)>,
) -> Result<Mapped<u64>, DatapathError> {
    let failed = |error| DatapathError::table(PERMITS, error);
    let load = plans.iter().find(|plan| plan.name == maps::LOAD);
    let is_counted = load.is_some_and(|plan| plan.fate != MapFate::New);
    let left = is_counted.then(|| MapData::from_pin(pins.maps().join(PERMITS)).ok()).flatten();
    let is_kept = load.is_some_and(|plan| plan.fate == MapFate::Kept);
    let Some(left) = left else {
        return Mapped::map(Map::Array(create(slots, unnamed)?), PERMITS);
    };
    let entries = left.info().map_err(failed)?.max_entries() as usize;
    if is_kept && entries == slots * GENERATIONS {
        return Mapped::map(Map::Array(left), PERMITS);
    }
    // LOAD has other slots now, or an earlier build knew no generations.
    let counted = MapData::from_pin(pins.maps().join(maps::LOAD)).and_then(|load| load.info());
    let counted = counted.map_or(entries, |info| info.max_entries() as usize).max(1);
    let new = Mapped::<u64>::map(Map::Array(create(slots, unnamed)?), PERMITS)?;
    let left = Mapped::<u64>::map(Map::Array(left), PERMITS)?;
    for (index, share) in left.iter().enumerate() {
        let slot = index % counted;
        if slot < slots {
            let share = share.load(Ordering::Relaxed);
            new[generation * slots + slot].fetch_add(share, Ordering::Relaxed);
        }
    }
    Ok(new)
}

fn create(slots: usize, unnamed: &mut Vec<(String, OwnedFd)>) -> Result<MapData, DatapathError> {
    let words = (slots * GENERATIONS) as u32;
    let shape = aya_obj::Map::new_from_params(ARRAY, 4, 8, words, BPF_F_MMAPABLE);
    let map = MapData::create(shape, PERMITS, None)
        .map_err(|error| DatapathError::table(PERMITS, error))?;
    unnamed.push((PERMITS.to_owned(), duplicate(&map, PERMITS)?));
    Ok(map)
}
