//! Decides which maps of an earlier daemon are adopted by the new program.
//!
//! A map is adopted if it is what the object wants, or larger. The others are replaced one by one:
//! control fills its tables again, and counts are copied. Only the flow table and the rings consist
//! of several maps, which are adopted or replaced together.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf, Pod,
    maps::{Array, Map, MapData, PerCpuValues},
};
use aya_obj::{EbpfSectionKind, Object};
use lb_common::abi::maps;
use tracing::{info, warn};

use super::pins::Pins;
use crate::datapath::{
    bpf::error::DatapathError,
    maps::{config::DatapathConfig, counters::per_cpu},
};

/// The maps of the flow table. They refer to each other by place and hash, so their sizes must
/// match exactly.
const FLOW_TABLE: &[&str] = &[
    maps::FLOWS,
    maps::FLOW_SLOTS,
    maps::PENDING,
    maps::PENDING_SLOTS,
    maps::STRETCHES,
    maps::ANSWERS,
];
/// Until the new program takes over, the old one reads the old RINGS at what CURRENT_RINGS says.
const RING_TABLE: &[&str] = &[maps::RINGS, maps::CURRENT_RINGS];

/// The properties of a map that the program and the daemon rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    kind: u32,
    key: u32,
    value: u32,
    flags: u32,
    entries: u32,
}

/// A map of the object, and the fate of the pinned one of that name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AdoptionPlan {
    pub(crate) name: String,
    pub(crate) fate: MapFate,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MapFate {
    /// None is pinned.
    New,
    Kept,
    /// Why it cannot be adopted.
    Replaced(String),
}

/// Decides on every map of the object.
///
/// # Errors
///
/// The object cannot be read.
pub(crate) fn survey(
    elf: &[u8],
    pins: &Pins,
    config: &DatapathConfig,
) -> Result<Vec<AdoptionPlan>, DatapathError> {
    let wanted = wanted(elf, config)?;
    let pinned = |(name, shape): (String, Shape)| {
        let found = pinned_shape(&pins.maps().join(&name));
        let fate = fate(&name, &shape, found);
        AdoptionPlan { name, fate }
    };
    let plans = wanted.into_iter().map(pinned).collect();
    Ok(together(RING_TABLE, together(FLOW_TABLE, plans)))
}

fn wanted(elf: &[u8], config: &DatapathConfig) -> Result<Vec<(String, Shape)>, DatapathError> {
    let object = Object::parse(elf).map_err(|error| DatapathError::Object(error.to_string()))?;
    let is_table = |map: &aya_obj::Map| {
        matches!(map.section_kind(), EbpfSectionKind::Maps | EbpfSectionKind::BtfMaps)
    };
    let tables = object.maps.into_iter().filter(|(_, map)| is_table(map));
    let sizes = config.sizes();
    let mut wanted: Vec<_> = tables
        .map(|(name, map)| {
            let size = sizes.iter().find(|(sized, _)| *sized == name);
            let shape = Shape {
                kind: map.map_type(),
                key: map.key_size(),
                value: map.value_size(),
                flags: map.map_flags(),
                entries: size.map_or_else(|| map.max_entries(), |&(_, size)| size),
            };
            (name, shape)
        })
        .collect();
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(wanted)
}

/// Returns the shape of the pinned map, or why it cannot be read; `None` if nothing is pinned
/// there.
fn pinned_shape(path: &Path) -> Option<Result<Shape, String>> {
    fs::symlink_metadata(path).ok()?;
    let info = MapData::from_pin(path).and_then(|map| map.info());
    Some(info.map_err(|error| format!("it is no map: {error}")).and_then(|info| {
        Ok(Shape {
            kind: info.map_type().map_err(|error| error.to_string())? as u32,
            key: info.key_size(),
            value: info.value_size(),
            flags: info.map_flags(),
            entries: info.max_entries(),
        })
    }))
}

fn fate(name: &str, wanted: &Shape, found: Option<Result<Shape, String>>) -> MapFate {
    let found = match found {
        None => return MapFate::New,
        Some(Err(why)) => return MapFate::Replaced(why),
        Some(Ok(found)) => found,
    };
    let exact = FLOW_TABLE.contains(&name);
    if (Shape { entries: wanted.entries, ..found.clone() }) != *wanted {
        return MapFate::Replaced("its entries are of another kind".to_owned());
    }
    if found.entries < wanted.entries || (exact && found.entries != wanted.entries) {
        let (has, wants) = (found.entries, wanted.entries);
        return MapFate::Replaced(format!("it has room for {has} entries, not for {wants}"));
    }
    MapFate::Kept
}

/// Returns whether the flow table is adopted.
pub(crate) fn keeps_flows(plans: &[AdoptionPlan]) -> bool {
    plans.iter().any(|plan| plan.name == maps::FLOWS && plan.fate == MapFate::Kept)
}

/// Replaces the flow table.
pub(crate) fn replace_flows(plans: &mut [AdoptionPlan], why: &str) {
    for plan in plans.iter_mut().filter(|plan| FLOW_TABLE.contains(&plan.name.as_str())) {
        plan.fate = MapFate::Replaced(why.to_owned());
    }
}

/// Adopts a table of several maps as a whole or not at all.
fn together(table: &[&str], mut plans: Vec<AdoptionPlan>) -> Vec<AdoptionPlan> {
    let is_part = |plan: &&mut AdoptionPlan| table.contains(&plan.name.as_str());
    let kept = |plan: &AdoptionPlan| plan.fate == MapFate::Kept;
    let all = plans.iter_mut().filter(is_part).all(|plan| kept(plan));
    for plan in plans.iter_mut().filter(is_part).filter(|plan| !all && kept(plan)) {
        plan.fate = MapFate::Replaced("another part of the same table cannot go on".to_owned());
    }
    plans
}

/// Logs for the operator what is about to happen.
pub(crate) fn announce(plans: &[AdoptionPlan], pins: &Pins) {
    let path = pins.path().display();
    let kept = plans.iter().filter(|plan| plan.fate == MapFate::Kept).count();
    if kept > 0 {
        info!(%path, maps = kept, "taking over the data path of an earlier lb");
    }
    for plan in plans {
        if let MapFate::Replaced(why) = &plan.fate {
            warn!(map = plan.name, why, "replacing this map");
        }
    }
    let ends =
        |plan: &AdoptionPlan| plan.name == maps::FLOWS && matches!(plan.fate, MapFate::Replaced(_));
    if plans.iter().any(ends) {
        warn!("the flow table starts empty: pass-through connections end");
    }
    for version in pins.other_versions() {
        warn!(
            %path,
            version,
            ours = lb_common::abi::ABI_VERSION,
            "found the data path of another ABI version, which cannot be read: pass-through \
             connections end when it is replaced"
        );
    }
}

/// Returns the kernel's ids of the maps.
///
/// # Errors
///
/// The system call failed.
pub(crate) fn numbers(ebpf: &Ebpf, plans: &[AdoptionPlan]) -> Result<BTreeSet<u32>, DatapathError> {
    let maps = plans.iter().filter_map(|plan| ebpf.map(&plan.name).and_then(data));
    let numbers = maps.map(|map| map.info().map(|info| info.id()));
    numbers.collect::<Result<_, _>>().map_err(|error| DatapathError::table("a map", error))
}

/// Copies the counts of replaced maps into the new ones.
///
/// # Errors
///
/// A system call failed.
pub(crate) fn copy_counts(
    ebpf: &Ebpf,
    plans: &[AdoptionPlan],
    pins: &Pins,
) -> Result<(), DatapathError> {
    for name in [maps::COUNTERS, maps::OPENED, maps::EXHAUSTED, maps::LOAD, maps::PORTS] {
        let replaced = |plan: &&AdoptionPlan| matches!(plan.fate, MapFate::Replaced(_));
        if !plans.iter().filter(replaced).any(|plan| plan.name == name) {
            continue;
        }
        let Ok(old) = MapData::from_pin(pins.maps().join(name)) else {
            continue;
        };
        let Some(new) = ebpf.map(name).and_then(data) else {
            continue;
        };
        let new = MapData::from_fd(duplicate(new, name)?)
            .map_err(|error| DatapathError::table(name, error))?;
        copy(name, old, new)?;
    }
    Ok(())
}

fn copy(name: &'static str, old: MapData, new: MapData) -> Result<(), DatapathError> {
    let failed = |error| DatapathError::table(name, error);
    let kind = |map: &MapData| map.info().and_then(|info| info.map_type()).map_err(failed);
    let value = |map: &MapData| map.info().map(|info| info.value_size()).map_err(failed);
    if kind(&old)? != kind(&new)? || value(&old)? != value(&new)? {
        return Ok(());
    }
    match name {
        maps::COUNTERS | maps::OPENED | maps::EXHAUSTED => {
            let old = per_cpu(Map::PerCpuArray(old), name)?;
            let mut new = per_cpu(Map::PerCpuArray(new), name)?;
            for index in 0..old.len().min(new.len()) {
                let values: PerCpuValues<u64> = old.get(&index, 0).map_err(failed)?;
                if values.iter().any(|&value| value != 0) {
                    new.set(index, values, 0).map_err(failed)?;
                }
            }
            Ok(())
        }
        maps::LOAD => copy_array::<u64>(name, old, new),
        _ => copy_array::<u32>(name, old, new),
    }
}

pub(crate) fn copy_array<V: Pod + PartialEq + Default>(
    name: &'static str,
    old: MapData,
    new: MapData,
) -> Result<(), DatapathError> {
    let failed = |error| DatapathError::table(name, error);
    let old = Array::<_, V>::try_from(Map::Array(old)).map_err(failed)?;
    let mut new = Array::<_, V>::try_from(Map::Array(new)).map_err(failed)?;
    for index in 0..old.len().min(new.len()) {
        let value = old.get(&index, 0).map_err(failed)?;
        if value != V::default() {
            new.set(index, value, 0).map_err(failed)?;
        }
    }
    Ok(())
}

/// Returns second handles to the maps that are not pinned yet.
///
/// # Errors
///
/// A map is of an unexpected kind, or no file descriptor is left.
pub(crate) fn unnamed(
    ebpf: &Ebpf,
    plans: &[AdoptionPlan],
) -> Result<Vec<(String, OwnedFd)>, DatapathError> {
    let new = plans.iter().filter(|plan| plan.fate != MapFate::Kept);
    new.map(|AdoptionPlan { name, .. }| {
        let map = ebpf.map(name).and_then(data);
        let map = map.ok_or_else(|| DatapathError::UnknownMap { name: name.clone() })?;
        Ok((name.clone(), duplicate(map, "a map")?))
    })
    .collect()
}

pub(crate) fn duplicate(map: &MapData, name: &'static str) -> Result<OwnedFd, DatapathError> {
    let fd = map.fd().as_fd().try_clone_to_owned();
    fd.map_err(|error| DatapathError::table(name, error))
}

/// Returns the data common to all kinds of maps.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(map)
        | Map::HashMap(map)
        | Map::LpmTrie(map)
        | Map::LruHashMap(map)
        | Map::PerCpuArray(map)
        | Map::PerCpuHashMap(map)
        | Map::PerCpuLruHashMap(map)
        | Map::RingBuf(map)
        | Map::SockMap(map) => Some(map),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Shape = Shape { kind: 2, key: 4, value: 8, flags: 0, entries: 64 };

    fn is_replaced(fate: &MapFate) -> bool {
        matches!(fate, MapFate::Replaced(_))
    }

    #[test]
    fn what_fits_goes_on_and_so_does_what_is_larger() {
        assert_eq!(fate(maps::VIPS, &WANTED, None), MapFate::New);
        assert_eq!(fate(maps::VIPS, &WANTED, Some(Ok(WANTED))), MapFate::Kept);
        let with = |entries| Some(Ok(Shape { entries, ..WANTED }));
        assert_eq!(fate(maps::VIPS, &WANTED, with(65)), MapFate::Kept);
        assert!(is_replaced(&fate(maps::VIPS, &WANTED, with(63))));
        assert!(is_replaced(&fate(maps::FLOWS, &WANTED, with(65))), "of exact size");
        let other = Some(Ok(Shape { value: 16, ..WANTED }));
        assert!(is_replaced(&fate(maps::VIPS, &WANTED, other)));
        assert!(is_replaced(&fate(maps::VIPS, &WANTED, Some(Err("no map".to_owned())))));
    }

    #[test]
    fn every_table_of_the_object_is_known() {
        let wanted =
            wanted(crate::datapath::OBJECT, &DatapathConfig::default()).expect("an object");
        let entries = |name| {
            let found = wanted.iter().find(|(wanted, _)| wanted == name);
            found.map(|(_, shape)| shape.entries)
        };
        assert_eq!(entries(maps::LOAD), Some(65_536));
        assert_eq!(entries(maps::LISTENERS), Some(1));
        assert!(wanted.iter().all(|(name, _)| !name.starts_with('.')), "globals are a build's own");
        for name in FLOW_TABLE {
            assert!(entries(name).is_some(), "{name}");
        }
    }
}
