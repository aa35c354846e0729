//! Which backend a source keeps.

use super::address::Address;

/// A source of one service's flows.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AffinityKey {
    /// Cut down to [`Service::affinity_prefix`](super::Service::affinity_prefix).
    pub source: Address,
    /// Index into SERVICES. A whole word, as in [`FlowKey`](super::FlowKey).
    pub service: u64,
}

/// The backend of a source's last new flow.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Affinity {
    /// Of that flow, ns of `CLOCK_MONOTONIC_COARSE`.
    pub at: u64,
    /// Index into BACKENDS.
    pub backend: u32,
    /// Where among the members it stood: there the next search for it begins.
    pub position: u32,
}

const _: () = {
    assert!(size_of::<AffinityKey>() == 24);
    assert!(size_of::<Affinity>() == 16);
};
