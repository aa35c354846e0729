//! Follows TCP's opening and closing.
//!
//! Whether a RST or FIN is taken, only its receiver knows (RFC 9293, 3.10.7.4; RFC 5961). One whose
//! sequence number is nowhere near its sender's closes nothing here. One that does close a flow
//! does so at once, and the flow is [`revive`]d if it goes on all the same.

use crate::{
    abi::{PENDING, Slot, counter, flow_state, mode},
    context::{
        map_values::{FlowRef, WordRef},
        parsed::{ParsedPacket, Scratch},
        tables::Tables,
        verdict::{NextStep, Reason},
    },
    flow_table::table::{self, Found, slot_of, stands_for},
    wire::{
        packet::Packet,
        parse::{Headers, Kind, TCP, end, sequence, tcp_flags},
    },
};

/// Offset in a TCP header.
const ACKNOWLEDGEMENT: u32 = 8;

/// How far a client's first segments may be behind its SYN's.
const AHEAD: u32 = 1 << 16;
/// How far the number of a RST or FIN may be from its sender's last segment's: more than what is
/// under way between a fast sender and its receiver, and one in two thousand of all.
const NEAR: u32 = 1 << 20;
/// ns after a RST in which segments from before it may still come by.
const UNDER_WAY: u64 = 2_000_000_000;

/// Takes a finished flow out for a SYN of its client, who uses the port again before the flow was
/// forgotten. `false`: the flow is not finished.
#[inline(never)]
pub(crate) fn gives_way<T: Tables>(tables: &T, flow: FlowRef) -> bool {
    let Some(word) = slot_of(tables, flow) else { return false };
    let closed = Slot(word.load()).state() & flow_state::CLOSED == flow_state::CLOSED;
    closed && table::remove(tables, flow)
}

/// A client's FIN or RST, with its sequence number.
#[inline(never)]
pub(crate) fn client<T: Tables>(tables: &T, flags: u32, number: [u8; 4], found: Found) {
    if is_near(number, found.flow.sent()) {
        close(tables, closing(flags, flow_state::CLIENT_FIN), number, found);
    }
}

/// A backend's FIN or RST, with its sequence number.
#[inline(never)]
pub(crate) fn backend<T: Tables>(tables: &T, flags: u32, number: [u8; 4], found: Found) {
    if is_near(number, found.flow.replied()) {
        close(tables, closing(flags, flow_state::BACKEND_FIN), number, found);
    }
}

/// A RST of our own making.
#[inline(never)]
pub(crate) fn reset<T: Tables>(tables: &T, found: Found) {
    close(tables, flow_state::CLOSED, [0; 4], found);
}

/// The bits of a slot's state that a FIN or RST sets.
#[inline(always)]
const fn closing(flags: u32, fin: u32) -> u32 {
    if flags & tcp_flags::RST != 0 { flow_state::CLOSED | flow_state::RESET } else { fin }
}

/// Whether a sequence number may be of who sent `last`; 0: nothing is known of the sender.
#[inline(always)]
fn is_near(number: [u8; 4], last: [u8; 4]) -> bool {
    let ahead = u32::from_be_bytes(number).wrapping_sub(u32::from_be_bytes(last));
    last == [0; 4] || ahead.wrapping_add(NEAR) < 2 * NEAR
}

/// A backend's SYN: what the client must acknowledge.
#[inline(always)]
pub(crate) fn answered<P: Packet>(
    packet: &P,
    headers: Headers,
    found: Found,
) -> Result<(), Reason> {
    let first = u32::from_be_bytes(sequence(packet, headers.l4)?);
    found.flow.set_expected(first.wrapping_add(1).to_be_bytes());
    Ok(())
}

/// By exchanging the whole word: bits set blindly might meet the place's next flow.
#[inline(always)]
fn close<T: Tables>(tables: &T, bits: u32, number: [u8; 4], found: Found) {
    const CHANGES: u32 = 4;
    let Some(word) = slot_of(tables, found.flow) else { return };
    let load = found.flow.load();
    let established = found.flow.number() & PENDING == 0;
    let now = tables.now();
    for _ in 0..CHANGES {
        let slot = Slot(word.load());
        if !slot.has(flow_state::OPEN) || !stands_for(slot, found.flow) || found.check().is_err() {
            return;
        }
        let mut closed = slot.with(bits);
        if established && closed.has(flow_state::OVER) && !slot.has(flow_state::OVER) {
            closed = closed.marked(now);
        }
        if tables.exchange(word, slot.0, closed.0) {
            if bits == flow_state::CLIENT_FIN && slot.has(flow_state::CONFIRMED) {
                found.flow.set_expected(number);
            }
            if slot.has(flow_state::COUNTED) && !closed.has(flow_state::COUNTED) {
                tables.count_out(load);
            }
            return;
        }
    }
}

/// Whether a client's segment can only be of the connection that a half-open flow is of, and not of
/// an earlier one with its addresses and ports: it goes on from that one's SYN, or acknowledges the
/// answer.
#[inline(always)]
pub(crate) fn is_first<P: Packet>(packet: &P, headers: Headers, flow: FlowRef) -> bool {
    if flow.mode() == mode::NAT {
        return completes_handshake(packet, headers, flow);
    }
    let Ok(number) = sequence(packet, headers.l4) else { return false };
    let ahead = u32::from_be_bytes(number).wrapping_sub(u32::from_be_bytes(flow.sent()));
    ahead.wrapping_sub(1) < AHEAD
}

/// Whether the client acknowledges what only the backend's answer can have told it. A few segments
/// may already have followed the first.
#[inline(always)]
pub(crate) fn completes_handshake<P: Packet>(packet: &P, headers: Headers, flow: FlowRef) -> bool {
    if headers.flags & (tcp_flags::ACK | tcp_flags::SYN) != tcp_flags::ACK || flow.answered() == 0 {
        return false;
    }
    let Some(bytes) = packet.at_far::<[u8; 4]>(headers.l4 + ACKNOWLEDGEMENT) else {
        return false;
    };
    let expected = u32::from_be_bytes(flow.expected());
    u32::from_be_bytes(*bytes).wrapping_sub(expected) < AHEAD
}

/// Counts a closed flow again, and takes it for open, if its client's packet shows that it goes on.
/// Where another flow has taken its place under the hard limit meanwhile, it is over
/// ([`NextStep::Refuse`]).
///
/// Who answers it by itself need not be asked: of a flow that goes on, the client acknowledges
/// something in the end.
#[inline(never)]
pub(crate) fn revive<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    packet.anchor();
    let Scratch { parsed, onward, .. } = scratch;
    // By a RST nothing goes on, nor by an ICMP error.
    let ends = parsed.flags & (tcp_flags::SYN | tcp_flags::RST) != 0;
    if ends || parsed.key.protocol != TCP || parsed.kind != Kind::Segment {
        return Ok(());
    }
    let flow = table::entry(tables, onward.flow).ok_or(Reason::Inconsistent)?;
    let word = slot_of(tables, flow).ok_or(Reason::Inconsistent)?;
    let slot = Slot(word.load());
    if !slot.has(flow_state::OVER) || !stands_for(slot, flow) {
        return Ok(());
    }
    let is_promoted = onward.way == NextStep::Promote;
    let ended = if slot.has(flow_state::RESET) {
        outlived(tables, flow, slot, is_promoted)
    } else {
        continued(packet, parsed, flow, slot)
    };
    if ended != 0 && !readmit(tables, flow, word, slot, ended)? {
        table::remove(tables, flow);
        onward.refuse(Reason::BackendsFull);
    }
    Ok(())
}

/// What a client's packet that is no RST takes back of a RST: all, unless it may have been under
/// way before that.
#[inline(always)]
fn outlived<T: Tables>(tables: &T, flow: FlowRef, slot: Slot, is_promoted: bool) -> u32 {
    let now = tables.now();
    let half_open = flow.number() & PENDING != 0;
    let since = if half_open { now.wrapping_sub(flow.seen()) } else { slot.age(now) };
    // A handshake is complete by a number that only the backend's answer can have told.
    let completes = is_promoted && flow.mode() == mode::NAT;
    if completes || since > UNDER_WAY { flow_state::CLOSED } else { 0 }
}

/// What a client's packet takes back of two FINs: its own, if it sends on behind it.
#[inline(always)]
fn continued<P: Packet>(packet: &P, parsed: &ParsedPacket, flow: FlowRef, slot: Slot) -> u32 {
    let Ok(number) = sequence(packet, parsed.l4) else { return 0 };
    let Some(head) = packet.at_far::<[u8; 4]>(parsed.l4 + 12) else { return 0 };
    let header = u32::from(head[0] >> 4) * 4;
    let Some(end) = end(packet, parsed.family) else { return 0 };
    let is_empty = parsed.l4 + header >= end;
    let ahead = u32::from_be_bytes(number).wrapping_sub(u32::from_be_bytes(flow.expected()));
    let is_behind = ahead.wrapping_sub(1) < NEAR;
    let is_closing = parsed.flags & tcp_flags::FIN != 0;
    if !is_closing && !is_empty && is_behind && slot.has(flow_state::CONFIRMED) {
        flow_state::CLIENT_FIN
    } else {
        0
    }
}

/// `false`: its backend has no room for it.
#[inline(always)]
fn readmit<T: Tables>(
    tables: &T,
    flow: FlowRef,
    word: WordRef,
    slot: Slot,
    ended: u32,
) -> Result<bool, Reason> {
    let limit = tables.backend(flow.backend()).ok_or(Reason::Inconsistent)?.hard_limit;
    let load = flow.load();
    if tables.count_in(load) >= limit as u64 {
        tables.count_out(load);
        return Ok(false);
    }
    // By exchanging, so that it counts once: or another CPU has seen to it, or its time was up.
    if tables.exchange(word, slot.0, slot.revived(ended).0) {
        tables.count(counter::REVIVED);
    } else {
        tables.count_out(load);
    }
    Ok(true)
}
