//! `l2`, `ipip`, `gue`: the packet as it is, to a backend that answers the client itself.

use crate::{flow::Family, packet::Packet, tables::FlowRef, verdict::Reason};

/// Bytes that a flow's packets grow by on their way to the backend.
#[inline(always)]
#[must_use]
pub fn overhead(_: FlowRef) -> usize {
    0
}

/// Makes a client's packet what its backend gets, but for the Ethernet addresses.
#[inline(always)]
pub fn direct<P: Packet>(_: &mut P, _: Family, _: FlowRef) -> Result<(), Reason> {
    Err(Reason::Inconsistent)
}
