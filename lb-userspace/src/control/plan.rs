//! Plans the changes from the actual to the desired tables, in an order that is safe for concurrent
//! packets.

use lb_common::abi::{Ring, Service, status};

use super::{
    actual::ActualTables,
    desired::{ChangedKeys, Desired},
    error::ControlError,
    rings::parallel,
    service_tables::SteeredService,
};
use crate::tables::Command;

/// The ring words in one plan, after which the rest is left to the next: 64 MiB.
const MOST_WORDS: u32 = 1 << 24;
/// The number of rings built at a time.
const BATCH: usize = 256;

/// Commands towards the desired state.
#[derive(Debug, Default)]
pub struct Plan {
    pub commands: Vec<Command>,
    /// Work left for the next plan: rings that had no room beside the old ones, and backends that
    /// were in a ring until now.
    left: ChangedKeys,
}

/// Returns the commands that lead from `actual` to `desired`: only differences, and each command is
/// safe once those before it are applied.
///
/// Lists come before the services that use them, backends before the rings that contain them, rings
/// before the services that point to them, services before the VIPs that lead to them, and VIPs
/// before their address; removals go the other way. A backend that is down leaves the rings before
/// its flows are told. A new ring is written where no ring is, so the old one stays readable. Its
/// room is free for the next plan, which must not be applied before packets in flight are through:
/// see `datapath`. A backend is cleared by the plan after the one that took it out of its ring.
///
/// # Errors
///
/// There is no room for a ring, and there will be none.
pub fn plan(desired: &Desired, actual: &ActualTables) -> Result<Plan, ControlError> {
    let mut plan = Plan::default();
    plan.set_backends(desired, actual);
    plan.set_statuses(desired, actual, |status| status == status::HERE);
    plan.set_lists(desired, actual);
    plan.set_services(desired, actual);
    plan.swap_rings(desired, actual)?;
    plan.set_statuses(desired, actual, |status| status != status::HERE);
    plan.set_quic_ids(desired, actual);
    plan.set_vips(desired, actual);
    plan.remove_vips(desired, actual);
    plan.empty_services(desired, actual);
    plan.remove_lists(desired, actual);
    plan.clear_backends(desired, actual);
    Ok(plan)
}

impl Desired {
    /// Returns whether the service with this id has no member for new flows, if it exists.
    fn is_empty(&self, service: u32) -> bool {
        self.services.get(&service).is_none_or(|steered| steered.spec.is_empty())
    }

    /// Notes that the whole `plan` has been applied. Returns whether there is more to plan.
    pub fn settle(&mut self, plan: Plan) -> bool {
        self.touched = plan.left;
        self.touched != ChangedKeys::default()
    }
}

impl Plan {
    fn set_backends(&mut self, desired: &Desired, actual: &ActualTables) {
        for &id in &desired.touched.backends {
            let Some(placed) = desired.backends.get(&id) else { continue };
            let backend = placed.backend;
            if actual.backends.get(&id) != Some(&backend) {
                self.commands.push(Command::SetBackend { id, backend });
            }
        }
    }

    fn set_statuses(
        &mut self,
        desired: &Desired,
        actual: &ActualTables,
        which: impl Fn(u32) -> bool,
    ) {
        for &id in &desired.touched.backends {
            let Some(placed) = desired.backends.get(&id) else { continue };
            let status = placed.status;
            if !which(status) {
                continue;
            }
            if actual.statuses.get(&id).copied().unwrap_or(status::HERE) != status {
                self.commands.push(Command::SetStatus { id, status });
            }
        }
    }

    fn set_services(&mut self, desired: &Desired, actual: &ActualTables) {
        for &id in &desired.touched.services {
            let Some(&SteeredService { service, .. }) = desired.services.get(&id) else { continue };
            if actual.services.get(&id).copied().unwrap_or_default() != service {
                self.commands.push(Command::SetService { id, service });
            }
        }
    }

    /// Writes the rings that differ, then points their services to them.
    fn swap_rings(&mut self, desired: &Desired, actual: &ActualTables) -> Result<(), ControlError> {
        let mut space = None;
        let mut pointers = Vec::new();
        let mut homeless = None;
        let mut written = 0;
        let with_ring = |&id: &u32| Some((id, &*desired.services.get(&id)?.spec));
        let rings = desired.touched.services.iter().filter_map(with_ring);
        let rings: Vec<_> = rings.filter(|(_, spec)| !spec.is_empty()).collect();
        for batch in rings.chunks(BATCH) {
            if written > MOST_WORDS {
                self.left.services.extend(batch.iter().map(|&(id, _)| id));
                continue;
            }
            let missing = parallel::par_map(batch, |&(id, spec)| actual.missing(id, spec));
            for (&(id, spec), missing) in batch.iter().zip(missing) {
                let Some((words, length)) = missing else { continue };
                let count = words.len() as u32;
                let space = space.get_or_insert_with(|| actual.space.clone());
                let Some(offset) = space.find(count) else {
                    self.left.services.insert(id);
                    homeless.get_or_insert(count);
                    continue;
                };
                space.take(offset, count);
                written += count;
                let fingerprint = Some(spec.fingerprint());
                self.commands.push(Command::WriteRing { offset, fingerprint, words });
                pointers.push(Command::SetRing { service: id, ring: Ring::new(offset, length) });
            }
        }
        // Each ring that found a place leaves another one.
        if let Some(words) = homeless.filter(|_| pointers.is_empty())
            && !self.makes_room(desired, actual, words)
        {
            return Err(ControlError::RingSpace { words, room: actual.room });
        }
        self.commands.append(&mut pointers);
        Ok(())
    }

    /// Returns whether the next plan will find more room: services that become empty free some, and
    /// another ring may move, so that the gaps around it become one.
    fn makes_room(&mut self, desired: &Desired, actual: &ActualTables, words: u32) -> bool {
        let is_current = |id: &&u32| actual.current.contains_key(id);
        if desired.touched.services.iter().filter(is_current).any(|id| desired.is_empty(*id)) {
            return true;
        }
        // A ring that is to be written anyway does not move before.
        let stays = |id: u32| {
            let steered = desired.services.get(&id)?;
            actual.has_ring(id, &steered.spec).then_some(&steered.spec)
        };
        let rings = actual.rings().filter(|ring| stays(ring.0).is_some());
        let Some((id, offset)) = actual.space.relocate(rings, words) else { return false };
        let Some(spec) = stays(id) else { return false };
        let (words, length) = spec.build();
        self.commands.push(Command::WriteRing {
            offset,
            fingerprint: Some(spec.fingerprint()),
            words,
        });
        self.commands.push(Command::SetRing { service: id, ring: Ring::new(offset, length) });
        true
    }

    fn set_lists(&mut self, desired: &Desired, actual: &ActualTables) {
        for prefix in &desired.touched.lists {
            if let Some(&access) = desired.lists.get(prefix)
                && actual.lists.get(prefix) != Some(&access)
            {
                self.commands.push(Command::SetAccess(*prefix, access));
            }
        }
    }

    fn remove_lists(&mut self, desired: &Desired, actual: &ActualTables) {
        for prefix in &desired.touched.lists {
            if !desired.lists.contains_key(prefix) && actual.lists.contains_key(prefix) {
                self.commands.push(Command::RemoveAccess(*prefix));
            }
        }
    }

    fn set_vips(&mut self, desired: &Desired, actual: &ActualTables) {
        for &key in &desired.touched.vips {
            if let Some(&vip) = desired.vips.find(&key)
                && actual.vips.get(&key) != Some(&vip)
            {
                self.commands.push(Command::SetVip(key, vip));
            }
        }
        for &key in &desired.touched.ranges {
            if let Some(&vip) = desired.ranges.find(&key)
                && actual.ranges.get(&key) != Some(&vip)
            {
                self.commands.push(Command::SetRange(key, vip));
            }
        }
        for &address in &desired.touched.addresses {
            if let Some(flags) = desired.address(&address)
                && actual.addresses.get(&address) != Some(&flags)
            {
                self.commands.push(Command::SetAddress(address, flags));
            }
        }
    }

    /// A QUIC client that returns from elsewhere reaches its server as long as that exists.
    fn set_quic_ids(&mut self, desired: &Desired, actual: &ActualTables) {
        for &key in &desired.touched.quic_ids {
            let (wanted, found) = (desired.quic_ids.find(&key), actual.quic_ids.get(&key));
            match wanted {
                Some(&backend) if found != wanted => {
                    self.commands.push(Command::SetQuicId(key, backend));
                }
                None if found.is_some() => self.commands.push(Command::RemoveQuicId(key)),
                _ => {}
            }
        }
    }

    fn remove_vips(&mut self, desired: &Desired, actual: &ActualTables) {
        for &address in &desired.touched.addresses {
            if desired.addresses.find(&address).is_none() && actual.addresses.contains_key(&address)
            {
                self.commands.push(Command::RemoveAddress(address));
            }
        }
        for &key in &desired.touched.vips {
            if desired.vips.find(&key).is_none() && actual.vips.contains_key(&key) {
                self.commands.push(Command::RemoveVip(key));
            }
        }
        for &key in &desired.touched.ranges {
            if desired.ranges.find(&key).is_none() && actual.ranges.contains_key(&key) {
                self.commands.push(Command::RemoveRange(key));
            }
        }
    }

    fn empty_services(&mut self, desired: &Desired, actual: &ActualTables) {
        for &id in &desired.touched.services {
            let steered = desired.services.get(&id);
            if desired.is_empty(id) && actual.current.contains_key(&id) {
                self.commands.push(Command::SetRing { service: id, ring: Ring::default() });
            }
            if steered.is_none() && actual.services.contains_key(&id) {
                self.commands.push(Command::SetService { id, service: Service::default() });
            }
        }
    }

    /// Clears backends. A plan that changes rings leaves them for the next one.
    fn clear_backends(&mut self, desired: &Desired, actual: &ActualTables) {
        let turns = self.commands.iter().any(|it| matches!(it, Command::SetRing { .. }));
        let waits = turns || !self.left.services.is_empty();
        for &id in &desired.touched.backends {
            if desired.backends.contains_key(&id) || !actual.backends.contains_key(&id) {
                continue;
            }
            if waits {
                self.left.backends.insert(id);
            } else {
                self.commands.push(Command::ClearBackend { id });
            }
        }
    }
}
