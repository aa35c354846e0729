//! The secret by which the kernel program places flows in its table, so that nobody outside can
//! aim at a place. It is of the table, not of the program: whoever goes on with a table needs the
//! secret that it was filled with. So it has a map beside it, which only the daemon knows.

use std::{io, os::fd::OwnedFd};

use aya::maps::{Array, Map, MapData};

use super::{DatapathError, permits::create, pins::Pins};

pub(super) const SECRET: &str = "SECRET";

pub(super) type Secret = [u64; 2];

/// That of the tables under `pins`. `None`: there is none, or it cannot be read.
pub(super) fn read(pins: &Pins) -> Option<Secret> {
    let map = MapData::from_pin(pins.maps().join(SECRET)).ok()?;
    let map = Array::<_, u64>::try_from(Map::Array(map)).ok()?;
    Some([map.get(&0, 0).ok()?, map.get(&1, 0).ok()?])
}

/// A new one, in a map that has no name yet.
///
/// # Errors
///
/// The map cannot be made.
pub(super) fn write(
    secret: Secret,
    unnamed: &mut Vec<(String, OwnedFd)>,
) -> Result<(), DatapathError> {
    let failed = |error| DatapathError::table(SECRET, error);
    let map = create(SECRET, secret.len(), unnamed)?;
    let mut map = Array::<_, u64>::try_from(Map::Array(map)).map_err(failed)?;
    for (index, word) in (0..).zip(secret) {
        map.set(index, word, 0).map_err(failed)?;
    }
    Ok(())
}

/// # Errors
///
/// The kernel has no randomness to give.
pub(super) fn draw() -> Result<Secret, DatapathError> {
    let mut secret = [0; 2];
    let bytes = size_of::<Secret>();
    // SAFETY: there is room for so many bytes, and every pattern of them is a value.
    let got = unsafe { libc::getrandom(secret.as_mut_ptr().cast(), bytes, 0) };
    if usize::try_from(got) == Ok(bytes) {
        Ok(secret)
    } else {
        Err(DatapathError::Secret(io::Error::last_os_error()))
    }
}
