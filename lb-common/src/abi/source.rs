//! Who sends: lists of prefixes, rates, and sources that are known.

use super::address::Address;

/// A prefix that a service names, or an address to be found under one: a key of
/// `BPF_MAP_TYPE_LPM_TRIE` (`struct bpf_lpm_trie_key` in include/uapi/linux/bpf.h).
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListKey {
    /// Leading bits that count, those of `service` among them.
    bits: u32,
    /// Index into SERVICES.
    pub service: u32,
    pub address: Address,
}

impl ListKey {
    const SERVICE: u32 = 32;

    /// A prefix of an address in its mapped form: 96 bits more than of an IPv4 address. Bits behind
    /// it must be 0.
    #[must_use]
    pub const fn prefix(service: u32, address: Address, bits: u32) -> Self {
        Self { bits: Self::SERVICE + bits, service, address }
    }

    /// One address.
    #[inline(always)]
    #[must_use]
    pub const fn whole(service: u32, address: Address) -> Self {
        Self { bits: Self::SERVICE + 128, service, address }
    }

    /// Leading bits of the address that count.
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.bits - Self::SERVICE
    }
}

/// What a list says of a prefix.
pub mod access {
    /// Nothing.
    pub const UNNAMED: u32 = 0;
    pub const ALLOW: u32 = 1;
    pub const DENY: u32 = 2;
}

/// A source of one service's flows.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceKey {
    /// Masked with [`Service::source_prefix`](super::Service::source_prefix).
    pub address: Address,
    /// Index into SERVICES.
    pub service: u32,
    pub pad: u32,
}

/// What is measured of a service's new flows. Times are ns of `CLOCK_MONOTONIC_COARSE`.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Meter {
    /// When the next one is due if all come evenly: the theoretical arrival time of ITU-T I.371's
    /// generic cell rate algorithm.
    pub due: u64,
    /// In the upper half a second, in the lower one how many came in it from unknown sources.
    pub window: u64,
    /// When there last were too many of these; 0: never.
    pub attacked: u64,
}

const _: () = {
    assert!(size_of::<ListKey>() == 24);
    assert!(size_of::<SourceKey>() == 24);
    assert!(size_of::<Meter>() == 24);
};
