//! The secret seed of the flow table's hash: without it nobody outside can fill one bucket on
//! purpose.
//!
//! It is a constant of the loaded program. Adopted flows were placed with it, so it is kept beside
//! them, in a map that the kernel program does not know.

use std::{io, os::fd::OwnedFd};

use aya::maps::{Array, Map, MapData};
use lb_common::abi::globals;

use super::{
    adoption::{self, AdoptionPlan, duplicate},
    pins::Pins,
};
use crate::datapath::bpf::error::DatapathError;

pub(crate) const SEED: &str = globals::SEED;

/// `BPF_MAP_TYPE_ARRAY` in include/uapi/linux/bpf.h.
const ARRAY: u32 = 2;

type Seed = [u64; 2];

/// # Errors
///
/// The system has no random numbers.
pub(crate) fn random() -> Result<Seed, DatapathError> {
    let mut seed = [0; 2];
    // SAFETY: `seed` has the given length. Up to 256 bytes are filled completely, once the pool is
    // ready.
    let read = unsafe { libc::getrandom((&raw mut seed).cast(), size_of_val(&seed), 0) };
    if read == size_of_val(&seed).cast_signed() {
        Ok(seed)
    } else {
        Err(DatapathError::Random(io::Error::last_os_error()))
    }
}

/// Returns the seed of the adopted flows, else a new one. Flows whose seed is lost cannot be
/// adopted.
///
/// # Errors
///
/// The system has no random numbers.
pub(crate) fn settle(pins: &Pins, plans: &mut [AdoptionPlan]) -> Result<Seed, DatapathError> {
    if adoption::keeps_flows(plans) {
        match kept(pins) {
            Some(seed) => return Ok(seed),
            None => adoption::replace_flows(plans, "the secret that places its entries is lost"),
        }
    }
    random()
}

fn kept(pins: &Pins) -> Option<Seed> {
    let map = MapData::from_pin(pins.maps().join(SEED)).ok()?;
    Array::<_, Seed>::try_from(Map::Array(map)).ok()?.get(&0, 0).ok()
}

/// Stores it in a map that is to be pinned beside the others.
///
/// # Errors
///
/// A system call failed.
pub(crate) fn keep(seed: Seed, unnamed: &mut Vec<(String, OwnedFd)>) -> Result<(), DatapathError> {
    let failed = |error| DatapathError::table(SEED, error);
    let shape = aya_obj::Map::new_from_params(ARRAY, 4, size_of::<Seed>() as u32, 1, 0);
    let map = MapData::create(shape, SEED, None).map_err(failed)?;
    unnamed.push((SEED.to_owned(), duplicate(&map, SEED)?));
    let mut map = Array::<_, Seed>::try_from(Map::Array(map)).map_err(failed)?;
    map.set(0, seed, 0).map_err(failed)
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_secrets_are_alike() {
        assert_ne!(super::random().unwrap(), super::random().unwrap());
    }
}
