//! Stable ids: what keeps its name keeps its place in the kernel's tables.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    hash::Hash,
    net::SocketAddr,
    sync::Arc,
};

use super::{Error, desired::Family};
use crate::{load::LoadSlot, tables::Capacity};

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
    /// its load slot: they will be counted out there.
    pub fn release(&mut self, has_connections: impl Fn(LoadSlot) -> bool) {
        self.services.release(|_| false);
        self.backends.release(|_| false);
        self.loads.release(|id| has_connections(LoadSlot(id)));
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
        Self { what, room, held: HashMap::new(), free: BTreeSet::new(), fresh: 0 }
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
        Ok(id)
    }

    fn holder(&self, key: &K) -> Option<u32> {
        self.held.get(key).map(|held| held.id)
    }

    fn release(&mut self, in_use: impl Fn(u32) -> bool) {
        let free = &mut self.free;
        self.held.retain(|_, held| {
            held.claim = match held.claim {
                Claim::Made => Claim::Old,
                Claim::Old | Claim::LetGo if in_use(held.id) => Claim::Old,
                Claim::Old => Claim::LetGo,
                Claim::LetGo => {
                    free.insert(held.id);
                    return false;
                }
            };
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity { services: 2, backends: 2, loads: 2, rings: 0 };

    fn server(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn an_id_is_kept() {
        let mut slots = Slots::new(CAPACITY);
        let (web, dns) = ("web".into(), "dns".into());
        assert_eq!(slots.service(&web, Family::V4), Ok(0));
        assert_eq!(slots.service(&dns, Family::V6), Ok(1));
        slots.release(|_| false);
        assert_eq!(slots.service(&dns, Family::V6), Ok(1));
        assert_eq!(slots.service(&web, Family::V4), Ok(0));
        assert_eq!(
            slots.service(&web, Family::V6),
            Err(Error::Full { what: "steered services", room: 2 })
        );
    }

    #[test]
    fn a_released_id_is_free_one_release_later() {
        let mut slots = Slots::new(CAPACITY);
        let web: Arc<str> = "web".into();
        assert_eq!(slots.backend(&web, server(1)), Ok(0));
        slots.release(|_| false);
        assert_eq!(slots.backend(&web, server(2)), Ok(1));
        slots.release(|_| false);
        assert!(slots.backend(&web, server(3)).is_err(), "let go, not free");
        slots.release(|_| false);
        assert_eq!(slots.backend(&web, server(3)), Ok(0));
    }

    #[test]
    fn a_claim_in_time_takes_it_back() {
        let mut slots = Slots::new(CAPACITY);
        let web: Arc<str> = "web".into();
        slots.backend(&web, server(1)).unwrap();
        slots.release(|_| false);
        slots.release(|_| false);
        assert_eq!(slots.backend(&web, server(1)), Ok(0));
        slots.release(|_| false);
        slots.release(|_| false);
        assert_eq!(slots.backend_of(&web, server(1)), Some(0));
        slots.release(|_| false);
        assert_eq!(slots.backend_of(&web, server(1)), None);
    }

    #[test]
    fn a_load_slot_with_connections_is_kept() {
        let mut slots = Slots::new(CAPACITY);
        slots.load(server(1)).unwrap();
        for _ in 0..4 {
            slots.release(|slot| slot == LoadSlot(0));
        }
        assert_eq!(slots.load(server(2)), Ok(LoadSlot(1)));
        for _ in 0..3 {
            slots.load(server(2)).unwrap();
            slots.release(|_| false);
        }
        assert_eq!(slots.load(server(3)), Ok(LoadSlot(0)));
    }
}
