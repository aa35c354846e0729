//! Stable ids: what keeps its name keeps its place in the kernel's tables.

mod rebuild;

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    hash::Hash,
    net::SocketAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{Error, desired::Family};
use crate::{load::LoadSlot, tables::Capacity};

/// Who held which index: what an earlier daemon knew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    services: Vec<(String, Family, u32)>,
    backends: Vec<(String, SocketAddr, u32)>,
    loads: Vec<(SocketAddr, u32)>,
}

/// Who holds which index of `SERVICES`, `BACKENDS` and `LOAD`.
///
/// [`desire`](super::desire) claims everything that is wanted; once its plan has been carried out,
/// [`release`](Slots::release) lets go of the rest. What is let go becomes free at the release
/// after: the plan in between clears it in the kernel's tables, and until then packets in flight
/// may still speak of it.
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

    /// Goes on with what an earlier daemon assigned: nobody's index changes.
    #[must_use]
    pub fn resume(capacity: Capacity, assigned: &Assigned) -> Self {
        let mut slots = Self::new(capacity);
        for (service, family, id) in &assigned.services {
            slots.services.resume((service.as_str().into(), *family), *id);
        }
        for (service, server, id) in &assigned.backends {
            slots.backends.resume((service.as_str().into(), *server), *id);
        }
        for (server, id) in &assigned.loads {
            slots.loads.resume(*server, *id);
        }
        slots
    }

    /// Who holds which index now.
    #[must_use]
    pub fn assigned(&self) -> Assigned {
        let services = self.services.held.iter();
        let backends = self.backends.held.iter();
        let loads = self.loads.held.iter();
        Assigned {
            services: services
                .map(|((name, family), held)| (name.to_string(), *family, held.id))
                .collect(),
            backends: backends
                .map(|((name, server), held)| (name.to_string(), *server, held.id))
                .collect(),
            loads: loads.map(|(server, held)| (*server, held.id)).collect(),
        }
    }

    /// Whether indices were given or taken since [`mark_noted`](Self::mark_noted).
    #[must_use]
    pub fn have_changed(&self) -> bool {
        self.services.changed || self.backends.changed || self.loads.changed
    }

    /// What is assigned now is known outside.
    pub fn mark_noted(&mut self) {
        self.services.changed = false;
        self.backends.changed = false;
        self.loads.changed = false;
    }

    /// Servers whose connections go on, wanted or not.
    pub fn busy(
        &self,
        has_connections: impl Fn(LoadSlot) -> bool,
    ) -> impl Iterator<Item = SocketAddr> {
        let held = self.loads.held.iter();
        held.filter(move |(_, held)| has_connections(LoadSlot(held.id))).map(|(&server, _)| server)
    }

    /// The index into `SERVICES` for one family of a service.
    pub fn service(&mut self, service: &Arc<str>, family: Family) -> Result<u32, Error> {
        self.services.claim((service.clone(), family))
    }

    /// The index into `BACKENDS` for a server of a service.
    pub fn backend(&mut self, service: &Arc<str>, server: SocketAddr) -> Result<u32, Error> {
        self.backends.claim((service.clone(), server))
    }

    /// The index into `BACKENDS`, if the server of the service has one.
    #[must_use]
    pub fn backend_of(&self, service: &Arc<str>, server: SocketAddr) -> Option<u32> {
        self.backends.holder(&(service.clone(), server))
    }

    /// The index into `LOAD` for a server of any number of services.
    pub fn load(&mut self, server: SocketAddr) -> Result<LoadSlot, Error> {
        self.loads.claim(server).map(LoadSlot)
    }

    /// Lets go of what was not claimed since the last release. A server with connections keeps
    /// its load slot: they will be counted out there. It keeps its places in services, too, which
    /// its flows speak of.
    pub fn release(&mut self, has_connections: impl Fn(LoadSlot) -> bool) {
        let loads = &self.loads;
        let busy = |server: &SocketAddr| {
            loads.holder(server).is_some_and(|id| has_connections(LoadSlot(id)))
        };
        self.services.release(|_, _| false);
        self.backends.release(|(_, server), _| busy(server));
        self.loads.release(|_, id| has_connections(LoadSlot(id)));
    }
}

/// Ids of one table.
struct Ids<K> {
    what: &'static str,
    room: u32,
    held: HashMap<K, Held>,
    /// Below `fresh` and held by nobody.
    free: BTreeSet<u32>,
    /// Never held by anybody: this one and all above.
    fresh: u32,
    /// Since it was noted.
    changed: bool,
}

struct Held {
    id: u32,
    claim: Claim,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Since the last release.
    Made,
    /// Before it.
    Old,
    /// The last release let go of it.
    LetGo,
}

impl<K: Hash + Eq> Ids<K> {
    fn new(what: &'static str, room: u32) -> Self {
        Self { what, room, held: HashMap::new(), free: BTreeSet::new(), fresh: 0, changed: false }
    }

    fn claim(&mut self, key: K) -> Result<u32, Error> {
        let entry = match self.held.entry(key) {
            Entry::Occupied(entry) => {
                let held = entry.into_mut();
                held.claim = Claim::Made;
                return Ok(held.id);
            }
            Entry::Vacant(entry) => entry,
        };
        let id = match self.free.pop_first() {
            Some(id) => id,
            None if self.fresh < self.room => {
                self.fresh += 1;
                self.fresh - 1
            }
            None => {
                let Self { what, room, .. } = *self;
                return Err(Error::Full { what, room });
            }
        };
        let claim = Claim::Made;
        entry.insert(Held { id, claim });
        self.changed = true;
        Ok(id)
    }

    /// What cannot be true, an id out of range or of two holders, is left out.
    fn resume(&mut self, key: K, id: u32) {
        let is_taken = id < self.fresh && !self.free.contains(&id);
        if id >= self.room || is_taken || self.held.contains_key(&key) {
            return;
        }
        self.reserve(id);
        self.held.insert(key, Held { id, claim: Claim::Old });
    }

    /// From now on nobody gets it.
    fn reserve(&mut self, id: u32) {
        self.free.extend(self.fresh..id);
        self.free.remove(&id);
        self.fresh = self.fresh.max(id + 1);
    }

    fn holder(&self, key: &K) -> Option<u32> {
        self.held.get(key).map(|held| held.id)
    }

    fn release(&mut self, in_use: impl Fn(&K, u32) -> bool) {
        let (free, changed) = (&mut self.free, &mut self.changed);
        self.held.retain(|key, held| {
            held.claim = match held.claim {
                Claim::Made => Claim::Old,
                Claim::Old | Claim::LetGo if in_use(key, held.id) => Claim::Old,
                Claim::Old => Claim::LetGo,
                Claim::LetGo => {
                    free.insert(held.id);
                    *changed = true;
                    return false;
                }
            };
            true
        });
    }
}

#[cfg(test)]
mod tests;
