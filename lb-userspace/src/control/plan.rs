//! From what is to what should be, in an order that is safe for packets in between.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::Ring;

use super::{Desired, Error, Tables};
use crate::tables::Command;

/// The commands that lead from `actual` to `desired`: only what differs, and each safe as soon as
/// those before it are done.
///
/// Backends come before the rings that name them, rings before the services that point to them,
/// services before the VIPs that lead to them, VIPs before the address is ours; removals go the
/// other way. A new ring is written where no ring stands, so the old one stays readable. What it
/// takes up is free for the next plan, which must not be carried out before packets in flight are
/// through: see `datapath`. A backend is cleared once no ring of `actual` names it, so one plan
/// later than the ring that drops it.
pub fn plan(desired: &Desired, actual: &Tables) -> Result<Vec<Command>, Error> {
    let mut commands = Vec::new();
    set_backends(desired, actual, &mut commands);
    swap_rings(desired, actual, &mut commands)?;
    set_vips(desired, actual, &mut commands);
    remove_vips(desired, actual, &mut commands);
    empty_services(desired, actual, &mut commands);
    clear_backends(desired, actual, &mut commands);
    Ok(commands)
}

/// The entries of `desired` that `actual` lacks or has otherwise.
fn changed<K: Ord + Copy, V: PartialEq + Copy>(
    desired: &BTreeMap<K, V>,
    actual: &BTreeMap<K, V>,
) -> impl Iterator<Item = (K, V)> {
    let entries = desired.iter().map(|(&key, &value)| (key, value));
    entries.filter(|(key, value)| actual.get(key) != Some(value))
}

fn set_backends(desired: &Desired, actual: &Tables, commands: &mut Vec<Command>) {
    let backends = changed(&desired.backends, &actual.backends);
    commands.extend(backends.map(|(id, backend)| Command::SetBackend { id, backend }));
}

/// Writes the rings that differ, then points their services to them.
fn swap_rings(
    desired: &Desired,
    actual: &Tables,
    commands: &mut Vec<Command>,
) -> Result<(), Error> {
    let mut space = Space::around(actual);
    let mut pointers = Vec::new();
    for (&id, ring) in &desired.services {
        if ring.is_empty() || ring == actual.ring(id) {
            continue;
        }
        let length = ring.len() as u32;
        let words = with_members(ring);
        let offset = space.take(words.len() as u32)?;
        commands.push(Command::WriteRing { offset, words });
        pointers.push(Command::SetRing { service: id, ring: Ring::new(offset, length) });
    }
    commands.append(&mut pointers);
    Ok(())
}

/// A ring as it lies in RINGS: see [`Ring`].
fn with_members(slots: &[u32]) -> Vec<u32> {
    let members: BTreeSet<u32> = slots.iter().copied().collect();
    let count = members.len() as u32;
    slots.iter().copied().chain([count]).chain(members).collect()
}

fn set_vips(desired: &Desired, actual: &Tables, commands: &mut Vec<Command>) {
    let vips = changed(&desired.vips, &actual.vips);
    commands.extend(vips.map(|(key, vip)| Command::SetVip(key, vip)));
    let addresses = desired.addresses.difference(&actual.addresses);
    commands.extend(addresses.copied().map(Command::AddAddress));
}

fn remove_vips(desired: &Desired, actual: &Tables, commands: &mut Vec<Command>) {
    let addresses = actual.addresses.difference(&desired.addresses);
    commands.extend(addresses.copied().map(Command::RemoveAddress));
    let vips = actual.vips.keys().filter(|key| !desired.vips.contains_key(key));
    commands.extend(vips.copied().map(Command::RemoveVip));
}

fn empty_services(desired: &Desired, actual: &Tables, commands: &mut Vec<Command>) {
    let empty = |id: &&u32| desired.services.get(id).is_none_or(Vec::is_empty);
    let ring = Ring::default();
    let services = actual.current_rings.keys().filter(empty);
    commands.extend(services.map(|&service| Command::SetRing { service, ring }));
}

fn clear_backends(desired: &Desired, actual: &Tables, commands: &mut Vec<Command>) {
    let rings = actual.current_rings.keys().flat_map(|&id| actual.ring(id));
    let named: BTreeSet<&u32> = rings.collect();
    let unwanted = |id: &&u32| !desired.backends.contains_key(id) && !named.contains(id);
    let backends = actual.backends.keys().filter(unwanted);
    commands.extend(backends.map(|&id| Command::ClearBackend { id }));
}

/// Ring space that no service points to: `(offset, length)`, ascending.
struct Space {
    gaps: Vec<(u32, u32)>,
    room: u32,
}

impl Space {
    fn around(actual: &Tables) -> Self {
        let room = actual.rings.len() as u32;
        let rings = actual.current_rings.values();
        let mut rings: Vec<_> = rings.map(|&ring| (ring.offset(), actual.span(ring))).collect();
        rings.sort_unstable();
        rings.push((room, 0));
        let mut end = 0;
        let mut gaps = Vec::new();
        for (offset, span) in rings {
            gaps.push((end, offset.saturating_sub(end)));
            end = end.max(offset + span);
        }
        Self { gaps, room }
    }

    /// The first gap that fits.
    fn take(&mut self, length: u32) -> Result<u32, Error> {
        let room = self.room;
        let gap = self.gaps.iter_mut().find(|gap| gap.1 >= length);
        let gap = gap.ok_or(Error::RingSpace { length, room })?;
        let offset = gap.0;
        *gap = (gap.0 + length, gap.1 - length);
        Ok(offset)
    }
}

#[cfg(test)]
mod tests;
