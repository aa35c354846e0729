//! The daemon's own share of each count in LOAD, in a map beside it.
//!
//! Connections of the proxy end with the process, which cannot count them out when it is killed.
//! So that the next one can, each count's share is kept where it outlives us: what is in it at the
//! start are connections that are gone. The kernel program does not know this map.

use std::os::fd::OwnedFd;

use aya::maps::{Map, MapData};
use lb_common::abi::maps;

use super::{
    DatapathError,
    adopt::{Fate, Plan, copy_array, duplicate},
    pins::Pins,
    shared_load::{BPF_F_MMAPABLE, SharedLoad},
};

pub(super) const PERMITS: &str = "PERMITS";

/// `BPF_MAP_TYPE_ARRAY` in include/uapi/linux/bpf.h.
const ARRAY: u32 = 2;

/// With one word for each of LOAD's `slots`. It still holds what an earlier daemon left.
///
/// # Errors
///
/// A map cannot be made, read or mapped.
pub(super) fn open(
    pins: &Pins,
    plans: &[Plan],
    slots: usize,
    unnamed: &mut Vec<(String, OwnedFd)>,
) -> Result<SharedLoad, DatapathError> {
    let failed = |error| DatapathError::table(PERMITS, error);
    let is_counted = plans.iter().any(|plan| plan.name == maps::LOAD && plan.fate != Fate::New);
    let left = is_counted.then(|| MapData::from_pin(pins.maps().join(PERMITS)).ok()).flatten();
    if let Some(left) = left {
        if left.info().map_err(failed)?.max_entries() as usize == slots {
            return SharedLoad::map(Map::Array(left), PERMITS);
        }
        let new = create(PERMITS, slots, unnamed)?;
        let copy = MapData::from_fd(duplicate(&new, PERMITS)?).map_err(failed)?;
        copy_array::<u64>(PERMITS, left, copy)?;
        return SharedLoad::map(Map::Array(new), PERMITS);
    }
    SharedLoad::map(Map::Array(create(PERMITS, slots, unnamed)?), PERMITS)
}

/// An array of words that only the daemon knows.
pub(super) fn create(
    name: &'static str,
    slots: usize,
    unnamed: &mut Vec<(String, OwnedFd)>,
) -> Result<MapData, DatapathError> {
    let shape = aya_obj::Map::new_from_params(ARRAY, 4, 8, slots as u32, BPF_F_MMAPABLE);
    let map =
        MapData::create(shape, name, None).map_err(|error| DatapathError::table(name, error))?;
    unnamed.push((name.to_owned(), duplicate(&map, name)?));
    Ok(map)
}
