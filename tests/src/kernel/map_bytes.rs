//! What stands in this process's BPF maps, byte for byte.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
};
use lb_common::abi::{Bucket, Flow, FragmentKey, Fragmented, Reach, maps};

/// The maps that packets change, open to be read again and again.
pub struct Maps(Vec<(String, Reader)>);

/// The bytes of every entry, in the order of the keys.
type Reader = Box<dyn Fn() -> Result<Vec<Vec<u8>>>>;

/// By the map's name.
pub type Bytes = BTreeMap<String, Vec<Vec<u8>>>;

impl Maps {
    /// All that this process has.
    ///
    /// # Errors
    ///
    /// No root, or a map is not what its name says.
    pub fn open() -> Result<Self> {
        let mut found = Vec::new();
        for id in ids()? {
            let map = MapData::from_id(id)?;
            let name = map.info()?.name_as_str().context("a map's name")?.to_owned();
            if let Some(reader) = reader(&name, map)? {
                found.push((name, reader));
            }
        }
        Ok(Self(found))
    }

    /// # Errors
    ///
    /// The kernel does not answer.
    pub fn read(&self) -> Result<Bytes> {
        self.0.iter().map(|(name, read)| Ok((name.clone(), read()?))).collect()
    }
}

/// Where two readings differ.
#[must_use]
pub fn differences(before: &Bytes, after: &Bytes) -> Vec<String> {
    let places = after.iter().flat_map(|(name, entries)| {
        let entries = entries.iter().enumerate();
        entries.map(move |(index, value)| (name, index, value))
    });
    let was = |name: &String, index: usize| before.get(name).and_then(|it| it.get(index));
    let changed = places.filter(|&(name, index, value)| was(name, index) != Some(value));
    let fewer = before
        .iter()
        .filter(|(name, entries)| after.get(*name).is_none_or(|after| after.len() < entries.len()));
    changed
        .map(|(name, index, value)| format!("{name}[{index}] is now {value:02x?}"))
        .chain(fewer.map(|(name, _)| format!("{name} has fewer entries")))
        .collect()
}

/// `None`: packets do not change it.
fn reader(name: &str, map: MapData) -> Result<Option<Reader>> {
    Ok(Some(match name {
        maps::FLOWS | maps::PENDING => array::<{ size_of::<Flow>() }>(map)?,
        maps::FLOW_SLOTS | maps::PENDING_SLOTS | maps::ANSWERS => {
            array::<{ size_of::<Bucket>() }>(map)?
        }
        maps::REACH => array::<{ size_of::<Reach>() }>(map)?,
        maps::LOAD => array::<8>(map)?,
        maps::PORTS | maps::FRAGMENT_IDS | maps::STRETCHES => array::<4>(map)?,
        maps::COUNTERS | maps::OPENED => per_cpu::<8>(map)?,
        maps::TURNS => per_cpu::<4>(map)?,
        maps::METERS => array::<24>(map)?,
        maps::SOURCES => hash::<24, 8>(map)?,
        maps::KNOWN => hash::<16, 8>(map)?,
        maps::AFFINITY => hash::<24, 16>(map)?,
        maps::FRAGMENTS => hash::<{ size_of::<FragmentKey>() }, { size_of::<Fragmented>() }>(map)?,
        _ => return Ok(None),
    }))
}

fn array<const N: usize>(map: MapData) -> Result<Reader>
where
    [u8; N]: Pod,
{
    let map = Array::<_, [u8; N]>::try_from(Map::Array(map))?;
    Ok(Box::new(move || {
        let entries = (0..map.len()).map(|index| Ok(map.get(&index, 0)?.to_vec()));
        entries.collect()
    }))
}

fn per_cpu<const N: usize>(map: MapData) -> Result<Reader>
where
    [u8; N]: Pod,
{
    let map = PerCpuArray::<_, [u8; N]>::try_from(Map::PerCpuArray(map))?;
    Ok(Box::new(move || {
        let entries = (0..map.len()).map(|index| Ok(map.get(&index, 0)?.concat()));
        entries.collect()
    }))
}

fn hash<const K: usize, const V: usize>(map: MapData) -> Result<Reader>
where
    [u8; K]: Pod,
    [u8; V]: Pod,
{
    let map = HashMap::<_, [u8; K], [u8; V]>::try_from(Map::LruHashMap(map))?;
    Ok(Box::new(move || {
        let entries = map.iter().map(|entry| {
            let (key, value) = entry?;
            Ok([&key[..], &value[..]].concat())
        });
        let mut entries = entries.collect::<Result<Vec<_>>>()?;
        entries.sort_unstable();
        Ok(entries)
    }))
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
