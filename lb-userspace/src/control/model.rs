//! What the kernel's tables hold: every command that was carried out, taken together.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::{Address, Backend, Ring, Vip, VipKey};

use crate::tables::Command;

/// The kernel's tables as they are, kept in step by [`Tables::apply`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    pub(super) addresses: BTreeSet<Address>,
    pub(super) vips: BTreeMap<VipKey, Vip>,
    /// By service; those without a ring are zero.
    pub(super) current_rings: BTreeMap<u32, Ring>,
    pub(super) backends: BTreeMap<u32, Backend>,
    pub(super) rings: Vec<u32>,
}

impl Tables {
    /// Fresh tables: all empty, with room for `rings` ring slots.
    #[must_use]
    pub fn new(rings: u32) -> Self {
        Self {
            addresses: BTreeSet::new(),
            vips: BTreeMap::new(),
            current_rings: BTreeMap::new(),
            backends: BTreeMap::new(),
            rings: vec![0; rings as usize],
        }
    }

    /// Notes that `command` has been carried out.
    pub fn apply(&mut self, command: &Command) {
        match *command {
            Command::SetBackend { id, backend } => drop(self.backends.insert(id, backend)),
            Command::ClearBackend { id } => drop(self.backends.remove(&id)),
            Command::WriteRing { offset, ref words } => {
                self.rings[offset as usize..][..words.len()].copy_from_slice(words);
            }
            Command::SetRing { service, ring } if ring.length() == 0 => {
                self.current_rings.remove(&service);
            }
            Command::SetRing { service, ring } => drop(self.current_rings.insert(service, ring)),
            // No plan has any of these yet.
            Command::SetService { .. } | Command::SetStatus { .. } => {}
            Command::SetVip(key, vip) => drop(self.vips.insert(key, vip)),
            Command::RemoveVip(key) => drop(self.vips.remove(&key)),
            Command::AddAddress(address) => drop(self.addresses.insert(address)),
            Command::RemoveAddress(address) => drop(self.addresses.remove(&address)),
        }
    }

    /// The slots of the ring that `service` points to. Empty: none.
    pub(super) fn ring(&self, service: u32) -> &[u32] {
        let ring = self.current_rings.get(&service).copied().unwrap_or_default();
        &self.rings[ring.offset() as usize..][..ring.length() as usize]
    }

    /// How many words of RINGS a ring takes: its slots, their members, and the number of these.
    pub(super) fn span(&self, ring: Ring) -> u32 {
        let members = self.rings.get((ring.offset() + ring.length()) as usize);
        ring.length() + 1 + members.copied().unwrap_or_default()
    }
}
