//! Follows TCP's opening and closing.

use crate::{
    abi::{Slot, flow_state},
    flow::{Headers, tcp_flags},
    flow_table::{self, Found, slot_of, stands_for},
    in_place::FlowRef,
    packet::Packet,
    tables::Tables,
    verdict::Reason,
};

/// Offsets in a TCP header.
const SEQUENCE: u32 = 4;
const ACKNOWLEDGEMENT: u32 = 8;

/// Takes a finished flow out for a SYN of its client, who uses the port again before the flow was
/// forgotten. `false`: the flow is not finished.
#[inline(never)]
pub(crate) fn gives_way<T: Tables>(tables: &T, flow: FlowRef) -> bool {
    let Some(word) = slot_of(tables, flow) else { return false };
    let closed = Slot(word.load()).state() & flow_state::CLOSED == flow_state::CLOSED;
    closed && flow_table::remove(tables, flow)
}

/// A client's FIN or RST.
#[inline(never)]
pub(crate) fn client<T: Tables>(tables: &T, flags: u32, found: Found) {
    close(tables, flags, flow_state::CLIENT_FIN, found);
}

/// A backend's FIN or RST.
#[inline(never)]
pub(crate) fn backend<T: Tables>(tables: &T, flags: u32, found: Found) {
    close(tables, flags, flow_state::BACKEND_FIN, found);
}

/// A backend's SYN: what the client must acknowledge.
#[inline(always)]
pub(crate) fn answered<P: Packet>(
    packet: &P,
    headers: Headers,
    found: Found,
) -> Result<(), Reason> {
    let place = headers.l4 + SEQUENCE;
    let first = u32::from_be_bytes(*packet.at_far::<[u8; 4]>(place).ok_or(Reason::Truncated)?);
    found.flow.set_expected(first.wrapping_add(1).to_be_bytes());
    Ok(())
}

/// By exchanging the whole word: bits set blindly might meet the place's next flow.
#[inline(always)]
fn close<T: Tables>(tables: &T, flags: u32, fin: u32, found: Found) {
    const CHANGES: u32 = 4;
    let Some(word) = slot_of(tables, found.flow) else { return };
    let load = found.flow.load();
    let reset = flags & tcp_flags::RST != 0;
    let bits = if reset { flow_state::CLOSED } else { fin };
    for _ in 0..CHANGES {
        let slot = Slot(word.load());
        if !slot.has(flow_state::OPEN) || !stands_for(slot, found.flow) || found.check().is_err() {
            return;
        }
        let closed = slot.with(bits);
        if tables.exchange(word, slot.0, closed.0) {
            if slot.has(flow_state::COUNTED) && !closed.has(flow_state::COUNTED) {
                tables.count_out(load);
            }
            return;
        }
    }
}

/// Whether the client acknowledges what only the backend's answer can have told it. A few segments
/// may already have followed the first.
#[inline(always)]
pub(crate) fn completes_handshake<P: Packet>(packet: &P, headers: Headers, flow: FlowRef) -> bool {
    const AHEAD: u32 = 1 << 16;
    if headers.flags & (tcp_flags::ACK | tcp_flags::SYN) != tcp_flags::ACK || flow.answered() == 0 {
        return false;
    }
    let Some(bytes) = packet.at_far::<[u8; 4]>(headers.l4 + ACKNOWLEDGEMENT) else {
        return false;
    };
    let expected = u32::from_be_bytes(flow.expected());
    u32::from_be_bytes(*bytes).wrapping_sub(expected) < AHEAD
}
