//! Stable ids: whoever keeps its name keeps its index in the kernel's tables.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use lb_common::abi;

use super::{
    assigned::{Change, IdAssignment},
    pool::{IdPool, IdUsage},
};
use crate::control::{actual::ActualTables, error::ControlError, family::AddressFamily};
use crate::{load::LoadSlot, tables::Capacity};

/// An index that flows refer to, even closed ones that no longer count in LOAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// An index into `SERVICES`.
    Service(u32),
    /// An index into `BACKENDS`.
    Backend(u32),
}

/// The holder of each index of `SERVICES`, `BACKENDS` and `LOAD`.
///
/// Each id is claimed and released equally often. An id without a claim is kept as long as it is in
/// use, and becomes free after two more calls of [`settle`](StableIds::settle): the plan in between
/// clears it in the kernel's tables. Until then packets in flight may refer to it, and closed flows
/// until a sweep finds none.
pub struct StableIds {
    services: IdPool<(Arc<str>, AddressFamily)>,
    backends: IdPool<(Arc<str>, SocketAddr)>,
    loads: IdPool<SocketAddr>,
}

impl StableIds {
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            services: IdPool::new("steered services", capacity.services),
            backends: IdPool::new("backends of steered services", capacity.backends),
            loads: IdPool::new("servers", capacity.loads),
        }
    }

    /// Resumes an earlier daemon's assignment: nobody's index changes.
    #[must_use]
    pub fn resume(capacity: Capacity, assigned: &IdAssignment) -> Self {
        let mut ids = Self::new(capacity);
        for (service, family, id) in &assigned.services {
            ids.services.resume((service.as_str().into(), *family), *id);
        }
        for (service, server, id) in &assigned.backends {
            ids.backends.resume((service.as_str().into(), *server), *id);
        }
        for (server, id) in &assigned.loads {
            ids.loads.resume(*server, *id);
        }
        ids
    }

    /// Resumes without notes of the earlier daemon, with what was `recognised` in `tables`. Nothing
    /// else that the tables or flows refer to is given away: other backends are held by a nameless
    /// service until their connections have ended.
    #[must_use]
    pub fn recover(
        capacity: Capacity,
        tables: &ActualTables,
        recognised: &IdAssignment,
        has_connections: impl Fn(LoadSlot) -> bool,
    ) -> Self {
        let mut ids = Self::resume(capacity, recognised);
        tables.services.keys().for_each(|&id| ids.services.reserve(id));
        tables.current.keys().for_each(|&id| ids.services.reserve(id));
        let nameless: Arc<str> = "".into();
        for (&id, backend) in &tables.backends {
            let server = server(backend);
            ids.backends.resume((nameless.clone(), server), id);
            ids.backends.reserve(id);
            // A count belongs to the server's own address; flows go on counting there.
            ids.loads.resume(server, backend.load);
            ids.loads.reserve(backend.load);
        }
        let busy = (0..capacity.loads).filter(|&id| has_connections(LoadSlot(id)));
        busy.for_each(|id| ids.loads.reserve(id));
        ids
    }

    /// Returns the current assignment.
    #[must_use]
    pub fn assigned(&self) -> IdAssignment {
        let services = self.services.holders();
        let backends = self.backends.holders();
        let mut assigned = IdAssignment {
            services: services
                .map(|((name, family), id)| (name.to_string(), *family, id))
                .collect(),
            backends: backends.map(|((name, at), id)| (name.to_string(), *at, id)).collect(),
            loads: self.loads.holders().map(|(&server, id)| (server, id)).collect(),
        };
        assigned.services.sort_by_key(|entry| entry.2);
        assigned.backends.sort_by_key(|entry| entry.2);
        assigned.loads.sort_by_key(|entry| entry.1);
        assigned
    }

    /// Returns whether indices were given or taken since [`mark_noted`](Self::mark_noted).
    #[must_use]
    pub fn have_changed(&self) -> bool {
        let Self { services, backends, loads } = self;
        !(services.changes().is_empty()
            && backends.changes().is_empty()
            && loads.changes().is_empty())
    }

    /// Returns those changes, in order.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let services = self.services.changes().iter().map(|(id, holder)| {
            let holder = holder.as_ref().map(|(name, family)| (name.to_string(), *family));
            Change::Service(*id, holder)
        });
        let backends = self.backends.changes().iter().map(|(id, holder)| {
            let holder = holder.as_ref().map(|(name, server)| (name.to_string(), *server));
            Change::Backend(*id, holder)
        });
        let loads = self.loads.changes().iter().map(|&(id, holder)| Change::Load(id, holder));
        services.chain(backends).chain(loads).collect()
    }

    /// Marks the current assignment as noted.
    pub fn mark_noted(&mut self) {
        self.services.mark_noted();
        self.backends.mark_noted();
        self.loads.mark_noted();
    }

    /// Returns the servers with connections, configured or not.
    pub fn busy(
        &self,
        has_connections: impl Fn(LoadSlot) -> bool,
    ) -> impl Iterator<Item = SocketAddr> {
        let held = self.loads.holders();
        held.filter(move |&(_, id)| has_connections(LoadSlot(id))).map(|(&server, _)| server)
    }

    /// Returns all holders of an index into `BACKENDS`.
    pub(crate) fn backends(&self) -> impl Iterator<Item = (&Arc<str>, SocketAddr, u32)> {
        self.backends.holders().map(|((service, server), id)| (service, *server, id))
    }

    /// Returns all holders of an index into `SERVICES`, including services that are not configured
    /// any more.
    pub fn services(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.services.holders().map(|((service, _), id)| (service, id))
    }

    /// Claims the index into `SERVICES` for one family of a service.
    pub(crate) fn service(
        &mut self,
        service: &Arc<str>,
        family: AddressFamily,
    ) -> Result<u32, ControlError> {
        self.services.claim((service.clone(), family))
    }

    /// Claims the index into `BACKENDS` for a server of a service.
    pub(crate) fn backend(
        &mut self,
        service: &Arc<str>,
        server: SocketAddr,
    ) -> Result<u32, ControlError> {
        self.backends.claim((service.clone(), server))
    }

    /// Returns the index into `BACKENDS` of a service's server, if it has one.
    #[must_use]
    pub fn backend_of(&self, service: &Arc<str>, server: SocketAddr) -> Option<u32> {
        self.backends.holder(&(service.clone(), server))
    }

    /// Returns the indices into `SERVICES` of a service's families.
    pub fn services_of(&self, service: &Arc<str>) -> impl Iterator<Item = u32> + '_ {
        let keys = AddressFamily::ALL.map(|family| (service.clone(), family));
        keys.into_iter().filter_map(|key| self.services.holder(&key))
    }

    /// Returns the index into `LOAD` of a server, for any number of services. This is not a claim:
    /// the index is released if nobody claims it before the second settlement.
    ///
    /// # Errors
    ///
    /// The table is full.
    pub fn load(&mut self, server: SocketAddr) -> Result<LoadSlot, ControlError> {
        self.loads.find(server).map(LoadSlot)
    }

    pub(crate) fn load_of(&self, server: SocketAddr) -> Option<LoadSlot> {
        self.loads.holder(&server).map(LoadSlot)
    }

    pub(crate) fn claim_load(&mut self, server: SocketAddr) -> Result<LoadSlot, ControlError> {
        self.loads.claim(server).map(LoadSlot)
    }

    pub(crate) fn release_service(&mut self, service: &Arc<str>, family: AddressFamily) {
        self.services.release(&(service.clone(), family));
    }

    pub(crate) fn release_backend(&mut self, service: &Arc<str>, server: SocketAddr) {
        self.backends.release(&(service.clone(), server));
    }

    pub(crate) fn release_load(&mut self, server: SocketAddr) {
        self.loads.release(&server);
    }

    /// Frees what nobody claims and nothing uses any more. `is_named` returns whether flows may
    /// still refer to an index that no flow was opened with since the given time.
    pub fn settle(
        &mut self,
        now: Instant,
        has_connections: impl Fn(LoadSlot) -> bool,
        is_named: impl Fn(Index, Instant) -> bool,
    ) {
        let use_of = |load: Option<u32>| match load {
            Some(id) if has_connections(LoadSlot(id)) => IdUsage::Lasts,
            _ => IdUsage::Over,
        };
        let loads = &self.loads;
        let named = |id, since| is_named(Index::Service(id), since);
        self.services.settle(now, |_, _| IdUsage::Over, named);
        let named = |id, since| is_named(Index::Backend(id), since);
        self.backends.settle(now, |(_, server), _| use_of(loads.holder(server)), named);
        self.loads.settle(now, |_, id| use_of(Some(id)), |_, _| false);
    }
}

fn server(backend: &abi::Backend) -> SocketAddr {
    let address = IpAddr::V6(Ipv6Addr::from(backend.address.bytes())).to_canonical();
    SocketAddr::new(address, u16::from_be_bytes(backend.port))
}

#[cfg(test)]
mod tests;
