//! Port ranges: as few prefixes of port numbers as they are made of, instead of an entry for each.

use super::{address::Address, service::VipKey};

/// A key of an LPM trie: the kernel compares the first [`length`](Self::length) bits behind it.
///
/// The address stands at a multiple of eight bytes, since keys are put together on the stack.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RangeKey {
    /// Bits of all that follows.
    pub length: u32,
    /// IP protocol number.
    pub protocol: u32,
    pub address: Address,
    pub port: [u8; 2],
    pub pad: [u16; 3],
}

impl RangeKey {
    /// Bits before the port.
    const FIXED: u32 = 32 + 128;

    /// What finds the range that a port is in.
    #[inline(always)]
    #[must_use]
    pub const fn exact(vip: &VipKey) -> Self {
        Self::prefix(vip.address, vip.protocol, vip.port(), 16)
    }

    /// Every port whose first `bits` bits, at most 16, are those of `port`.
    #[inline(always)]
    #[must_use]
    pub const fn prefix(address: Address, protocol: u32, port: [u8; 2], bits: u32) -> Self {
        Self { length: Self::FIXED + bits, protocol, address, port, pad: [0; 3] }
    }

    /// The bits of the port that count.
    #[must_use]
    pub const fn port_bits(&self) -> u32 {
        self.length - Self::FIXED
    }
}

/// Values of ADDRESSES: bits of what there is beside the address.
pub mod address_flags {
    /// Some service of the address has a port range.
    pub const RANGES: u32 = 1;
    /// Nobody is told where the address is: neither ARP nor neighbour discovery is answered.
    pub const SILENT: u32 = 2;
}

const _: () = assert!(size_of::<RangeKey>() == 32);
