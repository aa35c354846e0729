//! How many entries the tables of a running daemon have.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use lb_common::abi::maps;

/// `BPF_MAP_GET_NEXT_KEY` of `enum bpf_cmd` in include/uapi/linux/bpf.h.
const GET_NEXT_KEY: libc::c_long = 4;
/// Tables whose entries come and go with the configuration.
const COUNTED: [&str; 5] = [maps::VIPS, maps::RANGES, maps::QUIC_IDS, maps::ADDRESSES, maps::LISTS];

/// Counts by the map's name, of the process `id`.
pub fn of_process(id: u32) -> Result<BTreeMap<String, usize>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{id}/fdinfo"))? {
        // One may have been closed meanwhile.
        let Ok(info) = fs::read_to_string(entry?.path()) else { continue };
        let number = info.lines().find_map(|line| line.strip_prefix("map_id:"));
        let Some(number) = number else { continue };
        let map = MapData::from_id(number.trim().parse()?)?;
        let info = map.info()?;
        let name = info.name_as_str().context("a map's name")?;
        if COUNTED.contains(&name) {
            found.insert(name.to_owned(), count(&map, info.key_size() as usize)?);
        }
    }
    Ok(found)
}

fn count(map: &MapData, key_size: usize) -> Result<usize> {
    let mut key: Option<Vec<u8>> = None;
    for number in 0.. {
        let mut next = vec![0_u8; key_size];
        let before = key.as_ref().map_or(0, |key| key.as_ptr() as u64);
        // Of this command: the map, the key before, where the next one goes.
        let asked = [map.fd().as_fd().as_raw_fd() as u64, before, next.as_mut_ptr() as u64];
        // SAFETY: both keys have the map's size and live through the call.
        let answer = unsafe {
            libc::syscall(libc::SYS_bpf, GET_NEXT_KEY, asked.as_ptr(), size_of_val(&asked))
        };
        if answer < 0 {
            let error = io::Error::last_os_error();
            let is_end = error.kind() == io::ErrorKind::NotFound;
            return if is_end { Ok(number) } else { Err(error).context("reading a map") };
        }
        key = Some(next);
    }
    unreachable!("a map has an end")
}
