//! What stands in this process's BPF maps, byte for byte.

use std::{collections::BTreeMap, fmt::Debug, fs};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
};
use lb_common::abi::{Bucket, Flow, FragmentKey, Fragmented, Reach, maps};

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
            maps::TURNS => {
                let map = PerCpuArray::<_, u32>::try_from(Map::PerCpuArray(map))?;
                for index in 0..map.len() {
                    let values = map.get(&index, 0)?;
                    bytes.insert((name.clone(), index), format!("{:?}", &*values));
                }
            }
            maps::FRAGMENT_IDS => array::<u32>(&name, map, &mut bytes)?,
            maps::METERS => array::<[u64; 3]>(&name, map, &mut bytes)?,
            maps::SOURCES => hash::<[u64; 3], u64>(&name, map, &mut bytes)?,
            maps::KNOWN => hash::<[u64; 2], u64>(&name, map, &mut bytes)?,
            maps::AFFINITY => hash::<[u64; 3], [u64; 2]>(&name, map, &mut bytes)?,
            maps::FRAGMENTS => hash::<FragmentKey, Fragmented>(&name, map, &mut bytes)?,
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

fn array<T: Pod + Debug>(name: &str, map: MapData, bytes: &mut Bytes) -> Result<()> {
    let map = Array::<_, T>::try_from(Map::Array(map))?;
    for index in 0..map.len() {
        bytes.insert((name.to_owned(), index), format!("{:?}", map.get(&index, 0)?));
    }
    Ok(())
}

/// As many lines as entries: an entry more or less is a difference, too.
fn hash<K: Pod + Debug, V: Pod + Debug>(name: &str, map: MapData, bytes: &mut Bytes) -> Result<()> {
    let map = HashMap::<_, K, V>::try_from(Map::LruHashMap(map))?;
    let mut entries = Vec::new();
    for entry in map.iter() {
        entries.push(format!("{:?}", entry?));
    }
    entries.sort_unstable();
    bytes.insert((name.to_owned(), 0), format!("{entries:?}"));
    Ok(())
}

/// The kernel's numbers of the maps that this process has open.
pub(crate) fn ids() -> Result<Vec<u32>> {
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
