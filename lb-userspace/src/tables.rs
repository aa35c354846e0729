//! The kernel's tables as changes to them: what control decides and the datapath carries out.

use lb_common::abi::{Address, Backend, Service, Vip, VipKey};

/// One change of one table. A list of them is carried out in its order: each is safe for packets
/// in flight once those before it have been done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Fills `BACKENDS[id]`. What the kernel remembers of an earlier owner of the id (`HOPS[id]`)
    /// is forgotten with it.
    SetBackend {
        id: u32,
        backend: Backend,
    },
    /// Zeroes `BACKENDS[id]`; no ring names it any more.
    ClearBackend {
        id: u32,
    },
    /// Fills `RINGS[offset..]` with backend ids, where no service points yet.
    WriteRing {
        offset: u32,
        slots: Vec<u32>,
    },
    /// Fills `SERVICES[id]`: one 8-byte store, which makes a written ring current.
    SetService {
        id: u32,
        service: Service,
    },
    /// Inserts or replaces.
    SetVip(VipKey, Vip),
    RemoveVip(VipKey),
    AddAddress(Address),
    RemoveAddress(Address),
}

/// How many entries the kernel's arrays have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// `SERVICES`: one for each address family of a steered service.
    pub services: u32,
    /// `BACKENDS`, `HOPS`, `OPENED`: one for each server of each steered service.
    pub backends: u32,
    /// `LOAD`, `PORTS`: one for each server of any service.
    pub loads: u32,
    /// `RINGS`, in slots.
    pub rings: u32,
}
