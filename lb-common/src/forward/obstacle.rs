//! What keeps a packet of a known flow from where it goes.

use crate::{
    abi::status,
    context::{map_values::FlowRef, tables::Tables, verdict::Reason},
    wire::{packet::Packet, parse::L3},
};

/// What keeps a client's packet of a flow from its backend. `watched`: 0, or 1 for what is to be
/// looked at, for which no way is wide enough: so that this costs no branch.
#[inline(always)]
pub(crate) fn obstacle<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    flow: FlowRef,
    watched: u32,
) -> Option<Reason> {
    let reach = tables.reach(flow.backend())?;
    if reach.status() == status::GONE {
        return Some(Reason::BackendGone);
    }
    let length = packet.length() - L3 + flow.overhead() as usize;
    if length > carries(reach.hop().mtu) & (watched as usize).wrapping_sub(1) {
        Some(Reason::TooBig)
    } else {
        None
    }
}

/// Whether a backend's packet does not fit the way to its client.
#[inline(always)]
pub(crate) fn is_too_large<P: Packet>(packet: &P, flow: FlowRef) -> bool {
    packet.length() - L3 > carries(flow.way_back().mtu)
}

/// A way of which nothing is known carries all.
#[inline(always)]
const fn carries(mtu: u32) -> usize {
    if mtu == 0 { usize::MAX } else { mtu as usize }
}
