//! The actual contents of the kernel's tables: the sum of all commands that were applied.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use lb_common::abi::{
    Address, Backend, ListKey, QuicKey, RangeKey, Ring, Service, Vip, VipKey, status,
};

use super::rings::{ring_spec::RingSpec, space::RingSpace};
use crate::tables::Command;

/// The actual contents of the kernel's tables, kept up to date by [`ActualTables::apply`].
#[derive(Clone, Debug)]
pub struct ActualTables {
    /// Addresses with their flags.
    pub(crate) addresses: HashMap<Address, u32>,
    pub(crate) vips: HashMap<VipKey, Vip>,
    pub(crate) lists: HashMap<ListKey, u32>,
    pub(crate) ranges: HashMap<RangeKey, Vip>,
    pub(crate) quic_ids: HashMap<QuicKey, u32>,
    /// Services, except those that are all zero.
    pub(crate) services: HashMap<u32, Service>,
    /// Current rings, except empty ones.
    pub(crate) current: HashMap<u32, Ring>,
    pub(crate) backends: HashMap<u32, Backend>,
    /// Statuses other than [`status::HERE`].
    pub(crate) statuses: HashMap<u32, u32>,
    /// What was written last at each ring's offset.
    written: HashMap<u32, Written>,
    pub(crate) space: RingSpace,
    pub(crate) room: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Written {
    what: Fingerprint,
    /// Words: slots, and all that is behind them.
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fingerprint {
    RingSpec(u64),
    /// An earlier daemon wrote the ring; its spec is unknown.
    Words(u64),
}

impl ActualTables {
    /// Returns empty tables with room for `rings` words of rings.
    #[must_use]
    pub fn new(rings: u32) -> Self {
        Self {
            addresses: HashMap::new(),
            vips: HashMap::new(),
            lists: HashMap::new(),
            ranges: HashMap::new(),
            quic_ids: HashMap::new(),
            services: HashMap::new(),
            current: HashMap::new(),
            backends: HashMap::new(),
            statuses: HashMap::new(),
            written: HashMap::new(),
            space: RingSpace::new(rings),
            room: rings,
        }
    }

    /// Returns the tables that an earlier daemon filled: empty ones after `contents`.
    #[must_use]
    pub fn holding(rings: u32, contents: &[Command]) -> Self {
        let mut tables = Self::new(rings);
        contents.iter().for_each(|command| tables.apply(command));
        tables
    }

    /// Notes that `command` has been applied.
    pub fn apply(&mut self, command: &Command) {
        match *command {
            Command::SetBackend { id, backend } => drop(self.backends.insert(id, backend)),
            Command::SetStatus { id, status: status::HERE } => drop(self.statuses.remove(&id)),
            Command::SetStatus { id, status } => drop(self.statuses.insert(id, status)),
            Command::ClearBackend { id } => {
                self.backends.remove(&id);
                self.statuses.remove(&id);
            }
            Command::WriteRing { offset, fingerprint, ref words } => {
                let what = fingerprint
                    .map_or_else(|| Fingerprint::Words(digest(words)), Fingerprint::RingSpec);
                self.written.insert(offset, Written { what, count: words.len() as u32 });
            }
            Command::SetService { id, service } if service == Service::default() => {
                self.services.remove(&id);
            }
            Command::SetService { id, service } => drop(self.services.insert(id, service)),
            Command::SetRing { service: id, ring } => self.turn(id, ring),
            Command::SetVip(key, vip) => drop(self.vips.insert(key, vip)),
            Command::RemoveVip(key) => drop(self.vips.remove(&key)),
            Command::SetRange(key, vip) => drop(self.ranges.insert(key, vip)),
            Command::RemoveRange(key) => drop(self.ranges.remove(&key)),
            Command::SetQuicId(key, backend) => drop(self.quic_ids.insert(key, backend)),
            Command::RemoveQuicId(key) => drop(self.quic_ids.remove(&key)),
            Command::SetAddress(address, flags) => drop(self.addresses.insert(address, flags)),
            Command::RemoveAddress(address) => drop(self.addresses.remove(&address)),
            Command::SetAccess(prefix, access) => drop(self.lists.insert(prefix, access)),
            Command::RemoveAccess(prefix) => drop(self.lists.remove(&prefix)),
        }
    }

    fn turn(&mut self, id: u32, ring: Ring) {
        let old = if ring.length() == 0 {
            self.current.remove(&id)
        } else {
            let count = self.written.get(&ring.offset()).expect("written before").count;
            self.space.take(ring.offset(), count);
            self.current.insert(id, ring)
        };
        if let Some(old) = old {
            let written = self.written.remove(&old.offset()).expect("it was current");
            self.space.free(old.offset(), written.count);
        }
    }

    /// Returns every current ring: its service, offset and length in words.
    pub(crate) fn rings(&self) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
        self.current.iter().map(|(&id, ring)| {
            let written = self.written.get(&ring.offset()).expect("it is current");
            (id, ring.offset(), written.count)
        })
    }

    /// Returns whether the service's ring follows this spec.
    pub(crate) fn has_ring(&self, service: u32, spec: &RingSpec) -> bool {
        self.missing(service, spec).is_none()
    }

    /// Returns what must be written so that the service's ring follows this spec (see
    /// [`RingSpec::build`]); `None` if it does.
    pub(crate) fn missing(&self, service: u32, spec: &RingSpec) -> Option<(Vec<u32>, u32)> {
        let ring = self.current.get(&service);
        match ring.and_then(|ring| self.written.get(&ring.offset())).map(|written| written.what) {
            Some(Fingerprint::RingSpec(known)) if known == spec.fingerprint() => None,
            Some(Fingerprint::Words(print)) => {
                let ring = spec.build();
                (digest(&ring.0) != print).then_some(ring)
            }
            _ => Some(spec.build()),
        }
    }
}

fn digest(words: &[u32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    hasher.finish()
}
