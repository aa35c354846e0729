//! What the kernel's tables hold: every command that was carried out, taken together.

use std::collections::{HashMap, HashSet};

use lb_common::abi::{Address, Backend, Ring, Service, Vip, VipKey, status};

use super::space::Space;
use crate::tables::Command;

/// The kernel's tables as they are, kept in step by [`Tables::apply`].
#[derive(Clone, Debug)]
pub struct Tables {
    pub(super) addresses: HashSet<Address>,
    pub(super) vips: HashMap<VipKey, Vip>,
    /// Not those that are all zero.
    pub(super) services: HashMap<u32, Service>,
    /// Those that are not empty.
    pub(super) current: HashMap<u32, Ring>,
    pub(super) backends: HashMap<u32, Backend>,
    /// Those that are not [`status::HERE`].
    pub(super) statuses: HashMap<u32, u32>,
    /// What was written last where a ring begins.
    written: HashMap<u32, Written>,
    pub(super) space: Space,
    pub(super) room: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Written {
    /// Of the recipe.
    fingerprint: u64,
    /// Slots, and the list of members behind them.
    words: u32,
}

impl Tables {
    /// Fresh tables: all empty, with room for `rings` words of rings.
    #[must_use]
    pub fn new(rings: u32) -> Self {
        Self {
            addresses: HashSet::new(),
            vips: HashMap::new(),
            services: HashMap::new(),
            current: HashMap::new(),
            backends: HashMap::new(),
            statuses: HashMap::new(),
            written: HashMap::new(),
            space: Space::new(rings),
            room: rings,
        }
    }

    /// Notes that `command` has been carried out.
    pub fn apply(&mut self, command: &Command) {
        match *command {
            Command::SetBackend { id, backend } => drop(self.backends.insert(id, backend)),
            Command::SetStatus { id, status: status::HERE } => drop(self.statuses.remove(&id)),
            Command::SetStatus { id, status } => drop(self.statuses.insert(id, status)),
            Command::ClearBackend { id } => {
                self.backends.remove(&id);
                self.statuses.remove(&id);
            }
            Command::WriteRing { offset, recipe, ref words } => {
                let words = words.len() as u32;
                self.written.insert(offset, Written { fingerprint: recipe, words });
            }
            Command::SetService { id, service } if service == Service::default() => {
                self.services.remove(&id);
            }
            Command::SetService { id, service } => drop(self.services.insert(id, service)),
            Command::SetRing { id, ring } => self.turn(id, ring),
            Command::SetVip(key, vip) => drop(self.vips.insert(key, vip)),
            Command::RemoveVip(key) => drop(self.vips.remove(&key)),
            Command::AddAddress(address) => drop(self.addresses.insert(address)),
            Command::RemoveAddress(address) => drop(self.addresses.remove(&address)),
        }
    }

    fn turn(&mut self, id: u32, ring: Ring) {
        let old = if ring.length() == 0 {
            self.current.remove(&id)
        } else {
            let words = self.written.get(&ring.offset()).expect("written before").words;
            self.space.take(ring.offset(), words);
            self.current.insert(id, ring)
        };
        if let Some(old) = old {
            let written = self.written.remove(&old.offset()).expect("it was current");
            self.space.give_back(old.offset(), written.words);
        }
    }

    /// Of the recipe of the service's ring. `None`: it has none.
    pub(super) fn fingerprint(&self, service: u32) -> Option<u64> {
        let ring = self.current.get(&service)?;
        self.written.get(&ring.offset()).map(|written| written.fingerprint)
    }
}
