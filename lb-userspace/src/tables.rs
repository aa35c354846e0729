//! The kernel's tables as changes to them: what control decides and the datapath carries out.

use std::net::IpAddr;

use lb_common::abi::{Address, Backend, ListKey, QuicKey, RangeKey, Ring, Service, Vip, VipKey};

/// One change of one table. A list of them is carried out in its order: each is safe for packets
/// in flight once those before it have been done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Fills `BACKENDS[id]`. The next hop that `REACH[id]` knows of an earlier owner of the id is
    /// forgotten; the status stays.
    SetBackend {
        id: u32,
        backend: Backend,
    },
    /// Zeroes `BACKENDS[id]`; no ring names it any more. Its status is `HERE` again.
    ClearBackend {
        id: u32,
    },
    /// Stores `REACH[id]`'s [`status`](lb_common::abi::status).
    SetStatus {
        id: u32,
        status: u32,
    },
    /// Fills `RINGS[offset..]` with what a [`Ring`] says lies there, where no service points yet:
    /// slots, the number of members, members, and the rings of farther regions.
    WriteRing {
        offset: u32,
        /// Fingerprint of what the ring was made of, where that is known. Not written anywhere.
        fingerprint: Option<u64>,
        words: Vec<u32>,
    },
    /// Fills `CURRENT_RINGS[service]`: one 8-byte store, which makes a written ring current.
    SetRing {
        service: u32,
        ring: Ring,
    },
    /// Fills `SERVICES[id]`: how the service treats its flows.
    SetService {
        id: u32,
        service: Service,
    },
    /// Inserts or replaces.
    SetVip(VipKey, Vip),
    RemoveVip(VipKey),
    /// One prefix of a range of ports. Inserts or replaces.
    SetRange(RangeKey, Vip),
    RemoveRange(RangeKey),
    /// Which backend a connection id names. Inserts or replaces.
    SetQuicId(QuicKey, u32),
    RemoveQuicId(QuicKey),
    /// An announced address with its [`address_flags`](lb_common::abi::address_flags). Inserts or
    /// replaces.
    SetAddress(Address, u32),
    RemoveAddress(Address),
    /// Inserts or replaces a prefix of LISTS; the value is of [`lb_common::abi::access`].
    SetAccess(ListKey, u32),
    RemoveAccess(ListKey),
}

/// How many entries the kernel's arrays have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// `SERVICES`, `CURRENT_RINGS`: one for each address family of a steered service.
    pub services: u32,
    /// `BACKENDS`, `REACH`, `OPENED`: one for each server of each steered service.
    pub backends: u32,
    /// `LOAD`, `PORTS`: one for each server of any service.
    pub loads: u32,
    /// `RINGS`, in words.
    pub rings: u32,
}

/// What one region's servers are in a ring's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region<'a> {
    pub slots: &'a [u32],
    pub members: &'a [u32],
}

/// Returns the regions, nearest first, of the [`Ring`] with `length` slots at the start of `words`:
/// as many as are complete.
pub fn regions(words: &[u32], length: u32) -> impl Iterator<Item = Region<'_>> {
    let mut rest = Some((words, length));
    std::iter::from_fn(move || {
        let (words, length) = rest.take().filter(|&(_, length)| length > 0)?;
        let (slots, words) = words.split_at_checked(length as usize)?;
        let (&count, words) = words.split_first()?;
        let (members, words) = words.split_at_checked(count as usize)?;
        let (&behind, words) = words.split_first()?;
        rest = Some((words, behind));
        Some(Region { slots, members })
    })
    .take(Ring::REGIONS as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_told_apart() {
        let words = [7, 7, 8, 2, 7, 8, 1, 9, 1, 9, 0, 55, 55];
        let near = Region { slots: &[7, 7, 8], members: &[7, 8] };
        let far = Region { slots: &[9], members: &[9] };
        assert_eq!(regions(&words, 3).collect::<Vec<_>>(), [near, far]);
        assert_eq!(regions(&words[..10], 3).collect::<Vec<_>>(), [near], "cut short");
        assert_eq!(regions(&words, 0).count(), 0);
        assert_eq!(regions(&[1, 1, 1].repeat(20), 1).count(), 4);
    }
}

/// What packets to a server carry as their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The only address, or the first of several.
    pub address: IpAddr,
    /// Where in SOURCE_POOL they are, and how many.
    pub pool: u32,
    pub count: u32,
    /// Addresses times source ports: flows that one port of the server can have.
    pub ends: u32,
}

impl Source {
    /// One address with so many ports.
    #[must_use]
    pub const fn only(address: IpAddr, ports: u32) -> Self {
        Self { address, pool: 0, count: 1, ends: ports }
    }
}
