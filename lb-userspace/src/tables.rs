//! The kernel's tables as changes to them: what control decides and the datapath carries out.

use lb_common::abi::{Address, Backend, Ring, Service, Vip, VipKey};

/// One change of one table. A list of them is carried out in its order: each is safe for packets
/// in flight once those before it have been done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Fills `BACKENDS[id]`. The hop that the kernel remembers for an earlier owner of the id
    /// (`REACH[id]`) is forgotten with it; the status stays.
    SetBackend {
        id: u32,
        backend: Backend,
    },
    /// Changes the status in `REACH[id]` alone.
    SetStatus {
        id: u32,
        status: u32,
    },
    /// Zeroes `BACKENDS[id]` and `REACH[id]`; no ring names it any more.
    ClearBackend {
        id: u32,
    },
    /// Fills `RINGS[offset..]`, where no service points yet: slots, and the list of members behind
    /// them.
    WriteRing {
        offset: u32,
        /// Fingerprint of what the ring was made of, where that is known. Not written anywhere.
        recipe: Option<u64>,
        words: Vec<u32>,
    },
    /// Fills `SERVICES[id]`.
    SetService {
        id: u32,
        service: Service,
    },
    /// Fills `CURRENT_RINGS[id]`: one 8-byte store, which makes a written ring current.
    SetRing {
        id: u32,
        ring: Ring,
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
    /// `BACKENDS`, `REACH`, `OPENED`: one for each server of each steered service.
    pub backends: u32,
    /// `LOAD`, `PORTS`: one for each server of any service.
    pub loads: u32,
    /// `RINGS`, in words.
    pub rings: u32,
}
