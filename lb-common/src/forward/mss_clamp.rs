//! The maximum segment size that a SYN announces, lowered to what the service allows (RFC 9293,
//! 3.7.1): for ways that lose "fragmentation needed" and "packet too big".
//!
//! A SYN says how large the segments may be that its *receiver* sends. Where answers do not pass
//! through us, only the client's SYN does, so only what the backend sends gets smaller.

use crate::{
    context::{parsed::Scratch, tables::Tables},
    flow_table::table,
    wire::{checksum::Delta, packet::Packet, parse::tcp_flags},
};

/// Offsets in a TCP header.
const DATA_OFFSET: usize = 12;
const CHECKSUM: usize = 16;
const OPTIONS: usize = 20;

/// Kinds of options (RFC 9293, 3.2).
const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;

/// Options looked at: a SYN has few, and this one first.
const TRIES: u64 = 16;

/// Does nothing but for a SYN of a service with such a limit. A client's packet says how much the
/// client takes, a backend's how much the backend does.
#[inline(never)]
pub(crate) fn clamp<P: Packet, T: Tables>(packet: &mut P, tables: &T, scratch: &Scratch) {
    packet.anchor();
    let parsed = &scratch.parsed;
    if parsed.flags & tcp_flags::SYN == 0 {
        return;
    }
    let Some(flow) = table::entry(tables, scratch.onward.flow) else { return };
    let limit = tables.service(flow.service()).map_or(0, |service| service.mss);
    if limit == 0 {
        return;
    }
    let l4 = parsed.family.l4();
    // Behind options or extension headers it stays as it is.
    if parsed.l4 as usize != l4 {
        return;
    }
    let Some(place) = find(packet, tables, l4) else { return };
    let Some(value) = packet.at_mut::<[u8; 2]>(place) else { return };
    let old = *value;
    let new = (limit as u16).to_be_bytes();
    if u16::from_be_bytes(old) <= limit as u16 {
        return;
    }
    *value = new;
    // A value at an odd place lies across two words of the sum: its bytes count the other way
    // round.
    let delta = if place & 1 == 0 {
        Delta::NONE.word(old, new)
    } else {
        Delta::NONE.word([old[1], old[0]], [new[1], new[0]])
    };
    if let Some(check) = packet.at_mut::<[u8; 2]>(l4 + CHECKSUM) {
        *check = delta.apply(*check);
    }
}

/// Where the value stands.
#[inline(always)]
fn find<P: Packet, T: Tables>(packet: &P, tables: &T, l4: usize) -> Option<usize> {
    let [offset, _] = *packet.at::<[u8; 2]>(l4 + DATA_OFFSET)?;
    let end = (offset >> 4) as usize * 4;
    let mut at = OPTIONS;
    for _ in 0..TRIES {
        // Within a header, as the kernel's verifier sees it; nothing else to it about how it got
        // there.
        at = tables.barrier(at as u32) as usize & 0x3f;
        if at + 4 > end {
            return None;
        }
        let [kind, length, ..] = *packet.at::<[u8; 4]>(l4 + at)?;
        match kind {
            END => return None,
            NOTHING => at += 1,
            MSS if length == 4 => return Some(l4 + at + 2),
            _ if length < 2 => return None,
            _ => at += length as usize,
        }
    }
    None
}
