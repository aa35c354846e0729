//! What stands in this process's BPF maps, byte for byte.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Array, Map, MapData, PerCpuArray},
};
use lb_common::abi::{Bucket, Flow, Reach, maps};

/// By the map's name and index.
pub type Bytes = BTreeMap<(String, u32), String>;

/// Everything that packets change.
pub fn read() -> Result<Bytes> {
    let mut bytes = Bytes::new();
    for id in ids()? {
        let map = MapData::from_id(id)?;
        let name = map.info()?.name_as_str().context("a map's name")?.to_owned();
        match &*name {
            maps::FLOWS | maps::PENDING => array::<Flow>(&name, map, &mut bytes)?,
            maps::FLOW_SLOTS | maps::PENDING_SLOTS | maps::ANSWERS => {
                array::<Bucket>(&name, map, &mut bytes)?;
            }
            maps::REACH => array::<Reach>(&name, map, &mut bytes)?,
            maps::LOAD => array::<u64>(&name, map, &mut bytes)?,
            maps::PORTS => array::<u32>(&name, map, &mut bytes)?,
            maps::COUNTERS | maps::OPENED => {
                let map = PerCpuArray::<_, u64>::try_from(Map::PerCpuArray(map))?;
                for index in 0..map.len() {
                    let values = map.get(&index, 0)?;
                    bytes.insert((name.clone(), index), format!("{:?}", &*values));
                }
            }
            _ => {}
        }
    }
    Ok(bytes)
}

/// Where two readings differ.
#[must_use]
pub fn differences(before: &Bytes, after: &Bytes) -> Vec<String> {
    let changed = after.iter().filter(|(place, value)| before.get(*place) != Some(value));
    changed.map(|((name, index), value)| format!("{name}[{index}] is now {value}")).collect()
}

fn array<T: Pod + std::fmt::Debug>(name: &str, map: MapData, bytes: &mut Bytes) -> Result<()> {
    let map = Array::<_, T>::try_from(Map::Array(map))?;
    for index in 0..map.len() {
        bytes.insert((name.to_owned(), index), format!("{:?}", map.get(&index, 0)?));
    }
    Ok(())
}

/// The kernel's numbers of the maps that this process has open.
fn ids() -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // One may have been closed meanwhile.
        let Ok(info) = fs::read_to_string(entry?.path()) else { continue };
        let id = info.lines().find_map(|line| line.strip_prefix("map_id:"));
        ids.extend(id.map(|id| id.trim().parse::<u32>()).transpose()?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
