//! Changes of the kernel's tables, which control decides and the datapath applies.

use std::net::IpAddr;

use lb_common::abi::{Address, Backend, ListKey, QuicKey, RangeKey, Ring, Service, Vip, VipKey};

/// A change of one table. Changes are applied in order: each is safe for packets in flight once
/// those before it have been applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Fills `BACKENDS[id]`. The next hop in `REACH[id]` of an earlier holder of the id is
    /// forgotten; the status stays.
    SetBackend {
        id: u32,
        backend: Backend,
    },
    /// Zeroes `BACKENDS[id]`, which no ring contains any more. Its status becomes `HERE`.
    ClearBackend {
        id: u32,
    },
    /// Stores `REACH[id]`'s [`status`](lb_common::abi::status).
    SetStatus {
        id: u32,
        status: u32,
    },
    /// Fills `RINGS[offset..]` as described at [`Ring`], where no service points yet: slots, the
    /// number of members, members, and the rings of farther regions.
    WriteRing {
        offset: u32,
        /// Fingerprint of the ring's spec, if known. Not written to the table.
        fingerprint: Option<u64>,
        words: Vec<u32>,
    },
    /// Fills `CURRENT_RINGS[service]`: one 8-byte store, which makes a written ring current.
    SetRing {
        service: u32,
        ring: Ring,
    },
    /// Fills `SERVICES[id]`, which tells how the service's flows are handled.
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
    /// The backend that a QUIC connection ID leads to. Inserts or replaces.
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

/// The number of entries of the kernel's arrays.
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

/// One region's servers in a ring's words.
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

/// The source addresses of packets to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The only address, or the first of several.
    pub address: IpAddr,
    /// The offset in SOURCE_POOL, and the number of addresses.
    pub pool: u32,
    pub count: u32,
    /// Addresses times source ports: the most flows to one port of the server.
    pub ends: u32,
}

impl Source {
    /// Returns one address with so many ports.
    #[must_use]
    pub const fn only(address: IpAddr, ports: u32) -> Self {
        Self { address, pool: 0, count: 1, ends: ports }
    }
}
