//! Applies control's commands to the kernel's tables.

use std::{
    mem::offset_of,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use lb_common::abi::{
    Address, Backend, ListKey, QuicKey, RangeKey, Reach, Ring, RingWords, Service, Vip, VipKey,
    VlanDevice, maps, status,
};

use super::counters::per_cpu;
use crate::datapath::bpf::{
    error::DatapathError,
    mapped_array::{Mapped, half},
    programs::take_map,
    typed_map::TypedMap,
};
use crate::tables::Command;

/// The tables that control fills. The kernel program reads them while they change.
pub struct KernelTables {
    pub(crate) vips: TypedMap<VipKey, Vip>,
    pub(crate) ranges: TypedMap<RangeKey, Vip>,
    pub(crate) quic_ids: TypedMap<QuicKey, u32>,
    pub(crate) addresses: TypedMap<Address, u32>,
    pub(crate) services: TypedMap<u32, Service>,
    pub(crate) rings: Mapped<RingWords>,
    pub(crate) backends: TypedMap<u32, Backend>,
    pub(crate) current_rings: Mapped<Ring>,
    pub(crate) lists: TypedMap<ListKey, u32>,
    reach: Mapped<Reach>,
    vlans: TypedMap<u32, VlanDevice>,
    source_pool: Mapped<Address>,
    opened: PerCpuArray<MapData, u64>,
    exhausted: PerCpuArray<MapData, u64>,
}

impl KernelTables {
    pub(crate) fn open(
        ebpf: &mut Ebpf,
        opened: Map,
        exhausted: Map,
    ) -> Result<Self, DatapathError> {
        Ok(Self {
            vips: TypedMap::open(take_map(ebpf, maps::VIPS)?, maps::VIPS)?,
            ranges: TypedMap::open(take_map(ebpf, maps::RANGES)?, maps::RANGES)?,
            quic_ids: TypedMap::open(take_map(ebpf, maps::QUIC_IDS)?, maps::QUIC_IDS)?,
            addresses: TypedMap::open(take_map(ebpf, maps::ADDRESSES)?, maps::ADDRESSES)?,
            services: TypedMap::open(take_map(ebpf, maps::SERVICES)?, maps::SERVICES)?,
            current_rings: Mapped::map(take_map(ebpf, maps::CURRENT_RINGS)?, maps::CURRENT_RINGS)?,
            rings: Mapped::map(take_map(ebpf, maps::RINGS)?, maps::RINGS)?,
            backends: TypedMap::open(take_map(ebpf, maps::BACKENDS)?, maps::BACKENDS)?,
            lists: TypedMap::open(take_map(ebpf, maps::LISTS)?, maps::LISTS)?,
            reach: Mapped::map(take_map(ebpf, maps::REACH)?, maps::REACH)?,
            vlans: TypedMap::open(take_map(ebpf, maps::VLANS)?, maps::VLANS)?,
            source_pool: Mapped::map(take_map(ebpf, maps::SOURCE_POOL)?, maps::SOURCE_POOL)?,
            opened: per_cpu(opened, maps::OPENED)?,
            exhausted: per_cpu(exhausted, maps::EXHAUSTED)?,
        })
    }

    /// Applies one command. Commands must be applied in order; if one fails, the earlier ones
    /// stand.
    ///
    /// # Errors
    ///
    /// A table is full or has no such slot, or the system call failed.
    pub fn apply(&mut self, command: &Command) -> Result<(), DatapathError> {
        match command {
            Command::SetBackend { id, backend } => self.set_backend(*id, backend),
            Command::ClearBackend { id } => self.clear_backend(*id),
            Command::WriteRing { offset, words, .. } => self.write_ring(*offset, words),
            Command::SetStatus { id, status } => self.set_status(*id, *status),
            Command::SetRing { service, ring } => self.set_ring(*service, *ring),
            Command::SetService { id, service } => self.services.insert(id, service),
            Command::SetVip(key, vip) => self.vips.insert(key, vip),
            Command::RemoveVip(key) => self.vips.delete(key).map(drop),
            Command::SetRange(key, vip) => self.ranges.insert(key, vip),
            Command::RemoveRange(key) => self.ranges.delete(key).map(drop),
            Command::SetQuicId(key, backend) => self.quic_ids.insert(key, backend),
            Command::RemoveQuicId(key) => self.quic_ids.delete(key).map(drop),
            Command::SetAddress(address, flags) => self.addresses.insert(address, flags),
            Command::RemoveAddress(address) => self.addresses.delete(address).map(drop),
            Command::SetAccess(prefix, access) => self.lists.insert(prefix, access),
            Command::RemoveAccess(prefix) => self.lists.delete(prefix).map(drop),
        }
    }

    /// Adds a VLAN device: a route may name it, but XDP sends through its parent. `tags` are as in
    /// [`lb_common::abi::Hop`], the outer one first.
    ///
    /// # Errors
    ///
    /// There are more VLAN devices than the table has room for, or the system call failed.
    pub fn set_vlan(
        &mut self,
        ifindex: u32,
        parent: u32,
        [vlan, inner_vlan]: [u16; 2],
    ) -> Result<(), DatapathError> {
        let device = VlanDevice { parent, vlan, inner_vlan };
        self.vlans.insert(&ifindex, &device)
    }

    /// No packet reads these words yet: the ring becomes current later.
    fn write_ring(&self, offset: u32, words: &[u32]) -> Result<(), DatapathError> {
        let places = self.rings.halves().get(offset as usize..).unwrap_or_default();
        let places = places.get(..words.len()).ok_or(DatapathError::Full { name: maps::RINGS })?;
        for (place, &word) in places.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes a ring current with one aligned store: a packet finds the old ring or the new one,
    /// whose words were written before.
    fn set_ring(&self, service: u32, ring: Ring) -> Result<(), DatapathError> {
        let entry = self.current_rings.entry(service as usize);
        let [word] = entry.ok_or(DatapathError::Full { name: maps::CURRENT_RINGS })? else {
            return Err(DatapathError::MapKind { name: maps::CURRENT_RINGS });
        };
        word.store(ring.word(), Ordering::Release);
        Ok(())
    }

    /// The hop is written last: a concurrent packet can cache the previous owner's next hop again
    /// only while it still reads the previous backend.
    fn set_backend(&mut self, id: u32, backend: &Backend) -> Result<(), DatapathError> {
        self.backends.insert(&id, backend)?;
        self.forget_hop(id)
    }

    fn clear_backend(&mut self, id: u32) -> Result<(), DatapathError> {
        self.backends.insert(&id, &Backend::default())?;
        self.set_status(id, status::HERE)?;
        self.forget_hop(id)?;
        zero(&mut self.opened, id, maps::OPENED)?;
        zero(&mut self.exhausted, id, maps::EXHAUSTED)
    }

    /// Writes these addresses to the start of SOURCE_POOL; this must precede the backends that
    /// refer to them. It is written word by word: while one address replaces another, packets find
    /// one of them or, with IPv6, for some ns the halves of two, which costs a flow.
    ///
    /// # Errors
    ///
    /// There are more addresses than it has room for.
    pub fn set_source_pool(&mut self, pool: &[IpAddr]) -> Result<(), DatapathError> {
        for (index, &address) in pool.iter().enumerate() {
            let entry = self.source_pool.entry(index);
            let entry = entry.ok_or(DatapathError::Full { name: maps::SOURCE_POOL })?;
            for (place, word) in entry.iter().zip(Address::of(address).words()) {
                place.store(word, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn set_status(&self, id: u32, status: u32) -> Result<(), DatapathError> {
        half(self.reach(id)?, offset_of!(Reach, status)).store(status, Ordering::Release);
        Ok(())
    }

    pub(crate) fn status(&self, id: u32) -> Result<u32, DatapathError> {
        Ok(half(self.reach(id)?, offset_of!(Reach, status)).load(Ordering::Acquire))
    }

    /// Makes XDP look up the next hop to this backend again, also after a change of routes.
    ///
    /// # Errors
    ///
    /// The table has no such id.
    fn forget_hop(&mut self, id: u32) -> Result<(), DatapathError> {
        const AT: usize = offset_of!(Reach, at) / size_of::<u64>();
        self.reach(id)?[AT].store(0, Ordering::Release);
        Ok(())
    }

    fn reach(&self, id: u32) -> Result<&[AtomicU64], DatapathError> {
        self.reach.entry(id as usize).ok_or(DatapathError::Full { name: maps::REACH })
    }
}

fn zero(
    map: &mut PerCpuArray<MapData, u64>,
    id: u32,
    name: &'static str,
) -> Result<(), DatapathError> {
    let cpus = nr_cpus().map_err(|(_, source)| DatapathError::table(name, source))?;
    let zeroes = PerCpuValues::try_from(vec![0; cpus])
        .map_err(|source| DatapathError::table(name, source))?;
    map.set(id, zeroes, 0).map_err(|source| DatapathError::table(name, source))
}
