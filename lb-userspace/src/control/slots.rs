//! Stable ids: what keeps its name keeps its place in the kernel's tables.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Error,
    family::Family,
    ids::{Ids, Use},
};
use crate::{load::LoadSlot, tables::Capacity};

/// Who holds which index of `SERVICES`, `BACKENDS` and `LOAD`.
///
/// Whoever needs an id claims it, and gives it up as often. What nobody claims any more is kept
/// as long as it is in use, and becomes free two [`settle`](Slots::settle)s after that: the plan in
/// between clears it in the kernel's tables, and until then packets in flight may still speak of
/// it.
pub struct Slots {
    services: Ids<(Arc<str>, Family)>,
    backends: Ids<(Arc<str>, SocketAddr)>,
    loads: Ids<SocketAddr>,
}

impl Slots {
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            services: Ids::new("steered services", capacity.services),
            backends: Ids::new("backends of steered services", capacity.backends),
            loads: Ids::new("servers", capacity.loads),
        }
    }

    /// Claims the index into `SERVICES` for one family of a service.
    pub(super) fn service(&mut self, service: &Arc<str>, family: Family) -> Result<u32, Error> {
        self.services.claim((service.clone(), family))
    }

    /// Claims the index into `BACKENDS` for a server of a service.
    pub(super) fn backend(&mut self, service: &Arc<str>, server: SocketAddr) -> Result<u32, Error> {
        self.backends.claim((service.clone(), server))
    }

    /// The index into `BACKENDS`, if the server of the service has one.
    #[must_use]
    pub fn backend_of(&self, service: &Arc<str>, server: SocketAddr) -> Option<u32> {
        self.backends.holder(&(service.clone(), server))
    }

    /// The indices into `SERVICES` for the families of a service.
    #[must_use]
    pub fn services_of(&self, service: &Arc<str>) -> impl Iterator<Item = u32> + '_ {
        let keys = Family::ALL.map(|family| (service.clone(), family));
        keys.into_iter().filter_map(|key| self.services.holder(&key))
    }

    /// The index into `LOAD` for a server of any number of services. Not a claim: it is given up
    /// where nobody claims the server before the second settlement.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub fn load(&mut self, server: SocketAddr) -> Result<LoadSlot, Error> {
        self.loads.find(server).map(LoadSlot)
    }

    pub(super) fn load_of(&self, server: SocketAddr) -> Option<LoadSlot> {
        self.loads.holder(&server).map(LoadSlot)
    }

    pub(super) fn claim_load(&mut self, server: SocketAddr) -> Result<LoadSlot, Error> {
        self.loads.claim(server).map(LoadSlot)
    }

    pub(super) fn give_up_service(&mut self, service: &Arc<str>, family: Family) {
        self.services.give_up(&(service.clone(), family));
    }

    pub(super) fn give_up_backend(&mut self, service: &Arc<str>, server: SocketAddr) {
        self.backends.give_up(&(service.clone(), server));
    }

    pub(super) fn give_up_load(&mut self, server: SocketAddr) {
        self.loads.give_up(&server);
    }

    /// Lets go of what nobody claims. A server with connections keeps its load slot: they will be
    /// counted out there.
    pub fn settle(&mut self, has_connections: impl Fn(LoadSlot) -> bool) {
        self.services.settle(|_| Use::Over);
        self.backends.settle(|_| Use::Over);
        self.loads.settle(|id| match has_connections(LoadSlot(id)) {
            true => Use::Lasts,
            false => Use::Over,
        });
    }
}
