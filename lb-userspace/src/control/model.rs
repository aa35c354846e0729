//! What the kernel's tables hold: every command that was carried out, taken together.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::{Address, Backend, Service, Vip, VipKey};

use crate::tables::Command;

/// The kernel's tables as they are, kept in step by [`Tables::apply`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    pub(super) addresses: BTreeSet<Address>,
    pub(super) vips: BTreeMap<VipKey, Vip>,
    /// With a ring; the others are zero.
    pub(super) services: BTreeMap<u32, Service>,
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
            services: BTreeMap::new(),
            backends: BTreeMap::new(),
            rings: vec![0; rings as usize],
        }
    }

    /// Tables that an earlier daemon filled: empty ones after `contents`.
    #[must_use]
    pub fn holding(rings: u32, contents: &[Command]) -> Self {
        let mut tables = Self::new(rings);
        contents.iter().for_each(|command| tables.apply(command));
        tables
    }

    /// Notes that `command` has been carried out.
    pub fn apply(&mut self, command: &Command) {
        match *command {
            Command::SetBackend { id, backend } => drop(self.backends.insert(id, backend)),
            Command::ClearBackend { id } => drop(self.backends.remove(&id)),
            Command::WriteRing { offset, ref slots } => {
                self.rings[offset as usize..][..slots.len()].copy_from_slice(slots);
            }
            Command::SetService { id, service } if service.length() == 0 => {
                self.services.remove(&id);
            }
            Command::SetService { id, service } => drop(self.services.insert(id, service)),
            Command::SetVip(key, vip) => drop(self.vips.insert(key, vip)),
            Command::RemoveVip(key) => drop(self.vips.remove(&key)),
            Command::AddAddress(address) => drop(self.addresses.insert(address)),
            Command::RemoveAddress(address) => drop(self.addresses.remove(&address)),
        }
    }

    /// The ring that `service` points to. Empty: none.
    pub(super) fn ring(&self, service: u32) -> &[u32] {
        let service = self.services.get(&service).copied().unwrap_or_default();
        &self.rings[service.offset() as usize..][..service.length() as usize]
    }
}
