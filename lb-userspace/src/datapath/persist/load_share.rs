//! The map with the daemon's own share of each count in LOAD.
//!
//! Connections of the proxy end with the process, which cannot count them out when it is killed. So
//! each count's share is kept in a map that outlives the process: what the next daemon finds in it
//! are connections that are gone. The kernel program does not know this map.

use std::os::fd::OwnedFd;

use aya::maps::{Map, MapData};
use lb_common::abi::maps;

use super::{
    adoption::{AdoptionPlan, MapFate, copy_array, duplicate},
    pins::Pins,
};
use crate::datapath::bpf::{
    error::DatapathError,
    mapped_array::{BPF_F_MMAPABLE, Mapped},
};

pub(crate) const PERMITS: &str = "PERMITS";

/// `BPF_MAP_TYPE_ARRAY` in include/uapi/linux/bpf.h.
const ARRAY: u32 = 2;

/// Opens the map, with one word for each of LOAD's `slots`. It still holds what an earlier daemon
/// left.
///
/// # Errors
///
/// A map cannot be created, read or mapped.
pub(crate) fn open(
    pins: &Pins,
    plans: &[AdoptionPlan],
    slots: usize,
    unnamed: &mut Vec<(String, OwnedFd)>,
) -> Result<Mapped<u64>, DatapathError> {
    let failed = |error| DatapathError::table(PERMITS, error);
    let is_counted = plans.iter().any(|plan| plan.name == maps::LOAD && plan.fate != MapFate::New);
    let left = is_counted.then(|| MapData::from_pin(pins.maps().join(PERMITS)).ok()).flatten();
    if let Some(left) = left {
        if left.info().map_err(failed)?.max_entries() as usize == slots {
            return Mapped::map(Map::Array(left), PERMITS);
        }
        let new = create(slots, unnamed)?;
        let copy = MapData::from_fd(duplicate(&new, PERMITS)?).map_err(failed)?;
        copy_array::<u64>(PERMITS, left, copy)?;
        return Mapped::map(Map::Array(new), PERMITS);
    }
    Mapped::map(Map::Array(create(slots, unnamed)?), PERMITS)
}

fn create(slots: usize, unnamed: &mut Vec<(String, OwnedFd)>) -> Result<MapData, DatapathError> {
    let shape = aya_obj::Map::new_from_params(ARRAY, 4, 8, slots as u32, BPF_F_MMAPABLE);
    let map = MapData::create(shape, PERMITS, None)
        .map_err(|error| DatapathError::table(PERMITS, error))?;
    unnamed.push((PERMITS.to_owned(), duplicate(&map, PERMITS)?));
    Ok(map)
}
