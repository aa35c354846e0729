//! Stable ids: what keeps its name keeps its place in the kernel's tables.

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

/// What a flow names, and goes on naming while it is closed and counts in LOAD no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// Of `SERVICES`.
    Service(u32),
    /// Of `BACKENDS`.
    Backend(u32),
}

/// Who holds which index of `SERVICES`, `BACKENDS` and `LOAD`.
///
/// Whoever needs an id claims it, and gives it up as often. What nobody claims any more is kept as
/// long as it is in use, and becomes free two [`settle`](StableIds::settle)s after that or later:
/// the plan in between clears it in the kernel's tables, and until then packets in flight may still
/// speak of it, and closed flows until a sweep finds none.
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

    /// Goes on with what an earlier daemon assigned: nobody's index changes.
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

    /// Goes on where the notes of the earlier daemon are lost, with what was `recognised` in
    /// `tables`. Nothing else that these or flows speak of is given to anybody: other backends are
    /// held by a service without a name until their connections have ended.
    #[must_use]
    pub fn beyond(
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
            // A count is known by the server's own address; flows go on counting there.
            ids.loads.resume(server, backend.load);
            ids.loads.reserve(backend.load);
        }
        let busy = (0..capacity.loads).filter(|&id| has_connections(LoadSlot(id)));
        busy.for_each(|id| ids.loads.reserve(id));
        ids
    }

    /// Who holds which index now.
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

    /// Whether indices were given or taken since [`mark_noted`](Self::mark_noted).
    #[must_use]
    pub fn have_changed(&self) -> bool {
        let Self { services, backends, loads } = self;
        !(services.changes().is_empty()
            && backends.changes().is_empty()
            && loads.changes().is_empty())
    }

    /// The indices that were, in this order.
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

    /// What is assigned now is known outside.
    pub fn mark_noted(&mut self) {
        self.services.mark_noted();
        self.backends.mark_noted();
        self.loads.mark_noted();
    }

    /// Servers whose connections go on, wanted or not.
    pub fn busy(
        &self,
        has_connections: impl Fn(LoadSlot) -> bool,
    ) -> impl Iterator<Item = SocketAddr> {
        let held = self.loads.holders();
        held.filter(move |&(_, id)| has_connections(LoadSlot(id))).map(|(&server, _)| server)
    }

    /// Everybody who has an index into `BACKENDS`.
    pub(crate) fn backends(&self) -> impl Iterator<Item = (&Arc<str>, SocketAddr, u32)> {
        self.backends.holders().map(|((service, server), id)| (service, *server, id))
    }

    /// Everybody who has an index into `SERVICES`: those that are not configured any more, too.
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

    /// The index into `BACKENDS`, if the server of the service has one.
    #[must_use]
    pub fn backend_of(&self, service: &Arc<str>, server: SocketAddr) -> Option<u32> {
        self.backends.holder(&(service.clone(), server))
    }

    /// The indices into `SERVICES` for the families of a service.
    pub fn services_of(&self, service: &Arc<str>) -> impl Iterator<Item = u32> + '_ {
        let keys = AddressFamily::ALL.map(|family| (service.clone(), family));
        keys.into_iter().filter_map(|key| self.services.holder(&key))
    }

    /// The index into `LOAD` for a server of any number of services. Not a claim: it is given up
    /// where nobody claims the server before the second settlement.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub fn load(&mut self, server: SocketAddr) -> Result<LoadSlot, ControlError> {
        self.loads.find(server).map(LoadSlot)
    }

    pub(crate) fn load_of(&self, server: SocketAddr) -> Option<LoadSlot> {
        self.loads.holder(&server).map(LoadSlot)
    }

    pub(crate) fn claim_load(&mut self, server: SocketAddr) -> Result<LoadSlot, ControlError> {
        self.loads.claim(server).map(LoadSlot)
    }

    pub(crate) fn give_up_service(&mut self, service: &Arc<str>, family: AddressFamily) {
        self.services.release(&(service.clone(), family));
    }

    pub(crate) fn give_up_backend(&mut self, service: &Arc<str>, server: SocketAddr) {
        self.backends.release(&(service.clone(), server));
    }

    pub(crate) fn give_up_load(&mut self, server: SocketAddr) {
        self.loads.release(&server);
    }

    /// Takes back what nobody claims and nothing uses any more. `is_named`: whether flows may still
    /// speak of an index that none was opened with since then.
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
