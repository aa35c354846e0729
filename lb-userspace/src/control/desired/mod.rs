//! The desired contents of the kernel's tables, kept up to date as the fleet changes.

mod ref_counted;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use lb_common::abi::{
    Address, ListKey, QuicKey, RangeKey, Vip, VipKey, address_flags, path, status,
};

use self::ref_counted::RefCounted;
use super::{
    actual::ActualTables,
    error::ControlError,
    ids::stable_ids::StableIds,
    retiring::{ConfiguredState, Departure, LeavingServer, RetiringServers},
    service_tables::{BackendEntry, ServiceTables, ServiceTablesBuilder, SteeredService},
};
use crate::{
    fleet::{Fleet, RunningService},
    load::LoadSlot,
    service::Protocol,
    settings::{Encap, Geography},
    tables::Source,
};

/// The desired contents of the kernel's tables.
///
/// It consists of one part per service. Only the parts of changed services are computed again, so
/// the cost of an update does not depend on the number of services, except for one comparison each.
#[derive(Default)]
pub struct Desired {
    parts: HashMap<Arc<str>, Part>,
    /// All addresses of all services.
    pub(crate) addresses: RefCounted<Address, ()>,
    /// Services that share an address and port by host name want the same VIP.
    pub(crate) vips: RefCounted<VipKey, Vip>,
    /// Prefixes in services' access lists; each belongs to one service.
    pub(crate) lists: HashMap<ListKey, u32>,
    pub(crate) ranges: RefCounted<RangeKey, Vip>,
    /// The addresses in `ranges`.
    ranged: RefCounted<Address, ()>,
    pub(crate) quic_ids: RefCounted<QuicKey, u32>,
    pub(crate) services: HashMap<u32, SteeredService>,
    /// Servers of steered services, up or not, and servers that left while they had flows.
    pub(crate) backends: HashMap<u32, BackendEntry>,
    pub(crate) touched: ChangedKeys,
    retiring: RetiringServers,
    /// As in the fleet.
    removed: BTreeSet<SocketAddr>,
    /// The revision of the sources that the parts were made with.
    sources: u64,
    /// The revision of the settings that the parts were made with.
    settings: u64,
    /// Whether neighbours are never told where the addresses are.
    silent: bool,
}

/// The keys of entries that may differ from the kernel's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ChangedKeys {
    pub(crate) addresses: BTreeSet<Address>,
    pub(crate) vips: BTreeSet<VipKey>,
    pub(crate) lists: BTreeSet<ListKey>,
    pub(crate) ranges: BTreeSet<RangeKey>,
    pub(crate) quic_ids: BTreeSet<QuicKey>,
    pub(crate) services: BTreeSet<u32>,
    pub(crate) backends: BTreeSet<u32>,
}

impl ChangedKeys {
    /// Returns all keys of the kernel's tables.
    fn of(actual: &ActualTables) -> Self {
        Self {
            addresses: actual.addresses.keys().copied().collect(),
            vips: actual.vips.keys().copied().collect(),
            lists: actual.lists.keys().copied().collect(),
            ranges: actual.ranges.keys().copied().collect(),
            quic_ids: actual.quic_ids.keys().copied().collect(),
            services: actual.services.keys().chain(actual.current.keys()).copied().collect(),
            backends: actual.backends.keys().copied().collect(),
        }
    }
}

struct Part {
    running: Arc<RunningService>,
    revision: u64,
    /// The source towards each of its servers.
    sources: Box<[Option<Source>]>,
    tables: ServiceTables,
}

/// The inputs of [`Desired::update`], beside the fleet.
pub struct UpdateContext<'a> {
    /// The source address or addresses towards each server.
    pub sources: &'a HashMap<IpAddr, Source>,
    /// Changes whenever `sources` change.
    pub sources_revision: u64,
    /// The number of slots of a maglev ring. `None`: as suits its members.
    pub maglev_size: Option<u32>,
    pub encap: &'a Encap,
    pub geography: &'a Geography,
    /// Changes whenever `maglev_size`, `encap` or `geography` do.
    pub settings_revision: u64,
    /// ARP and neighbour discovery are not answered for any address.
    pub silent: bool,
    pub now: Instant,
}

impl Desired {
    /// Resumes with tables that an earlier daemon filled: their contents will be compared with the
    /// desired state, and servers that nobody wants are treated as having left.
    #[must_use]
    pub fn resume(
        actual: &ActualTables,
        departure: impl Fn(&Arc<str>, SocketAddr) -> Departure,
        ids: &mut StableIds,
    ) -> Self {
        let touched = ChangedKeys::of(actual);
        let status = |id: u32| actual.statuses.get(&id).copied().unwrap_or(status::HERE);
        let placed = |&id: &u32, backend| (id, BackendEntry { backend, status: status(id) });
        let backends = actual.backends.iter().map(|(id, &backend)| placed(id, backend)).collect();
        let retiring = RetiringServers::resume(&backends, &actual.quic_ids, departure, ids);
        let mut desired = Self { touched, backends, retiring, ..Self::default() };
        desired.retiring.quic_ids().for_each(|(key, id)| desired.quic_ids.add(key, id));
        desired
    }

    /// Has the next plan compare everything with `actual`, which was read anew.
    pub fn touch_all(&mut self, actual: &ActualTables) {
        self.touched = ChangedKeys::of(actual);
        self.touched.addresses.extend(self.addresses.keys());
        self.touched.vips.extend(self.vips.keys());
        self.touched.lists.extend(self.lists.keys());
        self.touched.ranges.extend(self.ranges.keys());
        self.touched.quic_ids.extend(self.quic_ids.keys());
        self.touched.services.extend(self.services.keys());
        self.touched.backends.extend(self.backends.keys());
    }

    /// Updates the desired state from `fleet`.
    ///
    /// # Errors
    ///
    /// A table is full. The parts that were updated before stay.
    pub fn update(
        &mut self,
        fleet: &Fleet,
        circumstances: &UpdateContext<'_>,
        ids: &mut StableIds,
    ) -> Result<(), ControlError> {
        let resourced = self.sources != circumstances.sources_revision;
        let reset = self.settings != circumstances.settings_revision;
        let changed = fleet.services.iter().filter(|running| {
            let part = self.parts.get(&running.service.name).filter(|_| !reset);
            part.is_none_or(|part| {
                part.is_outdated(running) || resourced && part.is_resourced(circumstances.sources)
            })
        });
        let changed: Vec<_> = changed.cloned().collect();
        if std::mem::replace(&mut self.silent, circumstances.silent) != circumstances.silent {
            self.touched.addresses.extend(self.addresses.keys());
        }
        self.remove_missing(fleet, circumstances.now, ids);
        self.keep_removed(fleet);
        let UpdateContext { sources, maglev_size, encap, geography, now, .. } = *circumstances;
        for running in changed {
            // Read before the state that it covers: a change in between shows at the next update.
            let revision = running.revision();
            let mut kitchen = ServiceTablesBuilder { sources, maglev_size, encap, geography, ids };
            let tables = kitchen.build(&running)?;
            self.replace(&running.service.name, Some(&tables), now, ids);
            let name = running.service.name.clone();
            let sources = running.sources(sources).collect();
            self.parts.insert(name, Part { running, revision, sources, tables });
        }
        self.sources = circumstances.sources_revision;
        self.settings = circumstances.settings_revision;
        Ok(())
    }

    /// Removes servers that left the configuration: at once if they have no flows, else once these
    /// have ended. Past their deadline they are treated as down. Call this between updates.
    /// `has_flows` returns whether a server that counts at this load slot, with this index into
    /// `BACKENDS`, has flows that began before the given time.
    pub fn retire(
        &mut self,
        now: Instant,
        has_flows: impl Fn(LoadSlot, u32, Instant) -> bool,
        ids: &mut StableIds,
    ) {
        let Self { parts, retiring, backends, .. } = self;
        let standing = |service: &Arc<str>, id| standing(parts, service, id);
        let done = retiring.advance(now, has_flows, standing, backends, ids);
        for &key in &done.unnamed {
            self.quic_ids.remove(key);
        }
        self.touched.quic_ids.extend(done.unnamed);
        self.touched.backends.extend(done.changed);
    }

    /// Returns the servers that left the configuration and still have flows.
    #[must_use]
    pub fn leavers(&self, ids: &StableIds) -> Vec<LeavingServer> {
        self.retiring.leavers(|service, id| standing(&self.parts, service, id), ids)
    }

    /// Returns whether [`retire`](Self::retire) must be called again, even if nothing else happens.
    #[must_use]
    pub fn is_retiring(&self) -> bool {
        !self.retiring.is_empty()
    }

    /// Returns the name of the service with this id.
    pub(crate) fn service_of(&self, id: u32) -> Option<Arc<str>> {
        let mut parts = self.parts.iter();
        let has = |part: &Part| part.tables.services.iter().any(|service| service.0 == id);
        parts.find(|(_, part)| has(part)).map(|(name, _)| name.clone())
    }

    /// Returns the value of an announced address.
    pub(crate) fn address(&self, address: &Address) -> Option<u32> {
        self.addresses.find(address)?;
        let has_ranges = self.ranged.find(address).is_some();
        let ranges = if has_ranges { address_flags::RANGES } else { 0 };
        Some(ranges | if self.silent { address_flags::SILENT } else { 0 })
    }

    fn remove_missing(&mut self, fleet: &Fleet, now: Instant, ids: &mut StableIds) {
        if self.parts.len() == fleet.services.len() && self.has_all(fleet) {
            return;
        }
        let names: HashSet<&Arc<str>> =
            fleet.services.iter().map(|running| &running.service.name).collect();
        let gone = self.parts.keys().filter(|name| !names.contains(name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.replace(&name, None, now, ids);
            self.parts.remove(&name);
        }
    }

    /// Has packets of removed proxied services still go to the proxy, which has their connections.
    fn keep_removed(&mut self, fleet: &Fleet) {
        let before = std::mem::replace(&mut self.removed, fleet.removed.clone());
        let keys = |at: &SocketAddr| {
            let (address, protocol) = (Address::of(at.ip()), u32::from(Protocol::Tcp.number()));
            (address, VipKey::new(address, at.port().to_be_bytes(), protocol))
        };
        for (address, key) in fleet.removed.difference(&before).map(keys) {
            self.addresses.add(address, ());
            self.vips.add(key, Vip { service: 0, path: path::PROXY });
            self.touched.addresses.insert(address);
            self.touched.vips.insert(key);
        }
        for (address, key) in before.difference(&fleet.removed).map(keys) {
            self.addresses.remove(address);
            self.vips.remove(key);
            self.touched.addresses.insert(address);
            self.touched.vips.insert(key);
        }
    }

    fn has_all(&self, fleet: &Fleet) -> bool {
        fleet.services.iter().all(|running| self.parts.contains_key(&running.service.name))
    }

    /// Replaces what `name` wanted so far with `new`.
    fn replace(
        &mut self,
        name: &Arc<str>,
        new: Option<&ServiceTables>,
        now: Instant,
        ids: &mut StableIds,
    ) {
        if let Some(new) = new {
            self.add(new);
        }
        let Some(old) = self.parts.get_mut(name) else { return };
        let old = std::mem::take(&mut old.tables);
        self.take_out(&old, new);
        let stays = |id| new.is_some_and(|new| new.backends.iter().any(|entry| entry.0 == id));
        let is_free = |key: &QuicKey| self.quic_ids.find(key).is_none();
        for (key, id) in self.retiring.take_over(&old, now, stays, is_free) {
            self.quic_ids.add(key, id);
        }
        for claim in old.claims.iter().filter(|claim| !self.retiring.keeps(claim)) {
            claim.release(ids);
        }
    }

    fn add(&mut self, new: &ServiceTables) {
        for &address in &new.addresses {
            self.addresses.add(address, ());
            self.touched.addresses.insert(address);
        }
        for &(key, vip) in &new.vips {
            self.vips.add(key, vip);
            self.touched.vips.insert(key);
        }
        for &(prefix, access) in &new.lists {
            self.lists.insert(prefix, access);
            self.touched.lists.insert(prefix);
        }
        for &(key, vip) in &new.ranges {
            self.ranges.add(key, vip);
            self.ranged.add(key.address, ());
            self.touched.ranges.insert(key);
        }
        for &(key, backend) in &new.quic_ids {
            if self.retiring.yields(&key) {
                self.quic_ids.remove(key);
            }
            self.quic_ids.add(key, backend);
            self.touched.quic_ids.insert(key);
        }
        for (id, steered) in &new.services {
            self.services.insert(*id, steered.clone());
            self.touched.services.insert(*id);
        }
        for &(id, placed) in &new.backends {
            self.backends.insert(id, placed);
            self.touched.backends.insert(id);
        }
    }

    /// Removes `old`. Services and backends belong to one service only, so those that `new` has
    /// stay.
    fn take_out(&mut self, old: &ServiceTables, new: Option<&ServiceTables>) {
        for &address in &old.addresses {
            self.addresses.remove(address);
            self.touched.addresses.insert(address);
        }
        for &(key, _) in &old.vips {
            self.vips.remove(key);
            self.touched.vips.insert(key);
        }
        // Access lists may be long.
        let lists = new.map_or(&[][..], |new| &new.lists[..]);
        let staying: HashSet<ListKey> = lists.iter().map(|entry| entry.0).collect();
        for &(prefix, _) in old.lists.iter().filter(|entry| !staying.contains(&entry.0)) {
            self.lists.remove(&prefix);
            self.touched.lists.insert(prefix);
        }
        for &(key, _) in &old.ranges {
            self.ranges.remove(key);
            self.ranged.remove(key.address);
            self.touched.ranges.insert(key);
        }
        for &(key, _) in &old.quic_ids {
            self.quic_ids.remove(key);
            self.touched.quic_ids.insert(key);
        }
        let stays = |id| new.is_some_and(|new| new.services.iter().any(|entry| entry.0 == id));
        for &(id, _) in old.services.iter().filter(|entry| !stays(entry.0)) {
            self.services.remove(&id);
            self.touched.services.insert(id);
        }
    }
}

fn standing<'f>(
    parts: &'f HashMap<Arc<str>, Part>,
    service: &Arc<str>,
    id: u32,
) -> ConfiguredState<'f> {
    let Some(part) = parts.get(service) else { return ConfiguredState::default() };
    let is_back = part.tables.backends.iter().any(|entry| entry.0 == id);
    ConfiguredState { running: Some(&part.running), is_back }
}

impl Part {
    fn is_outdated(&self, running: &Arc<RunningService>) -> bool {
        !Arc::ptr_eq(&self.running, running) || self.revision != running.revision()
    }

    fn is_resourced(&self, sources: &HashMap<IpAddr, Source>) -> bool {
        !self.running.sources(sources).eq(self.sources.iter().copied())
    }
}

impl RunningService {
    fn sources(&self, sources: &HashMap<IpAddr, Source>) -> impl Iterator<Item = Option<Source>> {
        let servers = self.backends.iter().map(|backend| backend.server.address.ip());
        servers.map(|server| sources.get(&server).copied())
    }
}

#[cfg(test)]
mod events;
#[cfg(test)]
pub(crate) mod tests;
