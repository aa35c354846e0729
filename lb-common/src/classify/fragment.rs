//! Fragments go the way of their packet's first one, which left its ports in FRAGMENTS.
//!
//! They are sent on as they come, never put together. An entry is forgotten when as many bytes have
//! gone by as the packet has, so that an identification can be used again at once; else after
//! [`PATIENCE`], or when the table is full and it was used least lately.

use network_types::ip::Ipv4Hdr;

use crate::{
    abi::{Fragmented, mode},
    context::{
        parsed::{Extent, ParsedPacket, Scratch},
        tables::Tables,
        verdict::{NextStep, Reason},
    },
    flow_table::table,
    wire::{
        checksum::Delta,
        packet::Packet,
        parse::{Family, L3, TCP},
    },
};

/// ns that later fragments may come after the first: as Linux has it for IPv4 (RFC 1122, 3.3.2: 60
/// to 120 s; RFC 791: 15 s).
const PATIENCE: u64 = 30_000_000_000;

/// The largest IP packet there is.
const LARGEST: u32 = 65_535;

/// Notes which fragment of its packet this is: [`ParsedPacket::rest`] bytes from `offset` on.
#[inline(always)]
pub(crate) fn place(parsed: &mut ParsedPacket, offset: u32, more: bool) -> Result<(), Reason> {
    let length = parsed.rest;
    let piece = &mut parsed.piece;
    piece.offset = offset;
    piece.length = length;
    piece.last = u32::from(!more);
    if offset == 0 {
        piece.extent = if more { Extent::First } else { Extent::Whole };
    } else {
        piece.extent = Extent::Later;
        parsed.l4 = 0;
    }
    // All but the last are made of units of eight bytes.
    if length == 0 || more && length & 7 != 0 || offset + length > LARGEST {
        return Err(Reason::BadIpHeader);
    }
    Ok(())
}

/// Gives a later fragment the ports of the first.
#[inline(always)]
pub(crate) fn recall<T: Tables>(tables: &T, parsed: &mut ParsedPacket) -> Result<(), Reason> {
    let ParsedPacket { key, piece, .. } = parsed;
    // Eight bytes into a TCP header are its flags.
    if key.protocol == TCP && piece.offset < 20 {
        return Err(Reason::FragmentTiny);
    }
    let whole = tables.fragmented(&piece.key).ok_or(Reason::FragmentEarly)?;
    if tables.now().wrapping_sub(whole.at()) > PATIENCE {
        return Err(Reason::FragmentEarly);
    }
    if piece.offset < whole.first() {
        return Err(Reason::FragmentOverlap);
    }
    key.protocol = whole.protocol();
    key.src_port = whole.src_port();
    key.dst_port = whole.dst_port();
    piece.whole.id = whole.id();
    if whole.original() == piece.key.id { Ok(()) } else { Err(Reason::FragmentEarly) }
}

/// Last step of a fragment that goes on: the next ones find its way, and where its addresses were
/// rewritten it gets an identification of ours.
#[inline(never)]
pub(crate) fn settle<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let Scratch { parsed, onward, .. } = scratch;
    if parsed.piece.extent == Extent::First {
        introduce(tables, parsed);
    } else {
        account(tables, parsed);
    }
    let flow = if onward.way == NextStep::Steer { table::entry(tables, onward.flow) } else { None };
    match flow {
        Some(flow) if flow.mode() == mode::NAT => renumber(packet, parsed),
        _ => Ok(()),
    }
}

#[inline(always)]
fn introduce<T: Tables>(tables: &T, parsed: &mut ParsedPacket) {
    let ParsedPacket { key, piece, .. } = parsed;
    piece.whole = Fragmented {
        at: tables.now(),
        src_port: key.src_port,
        dst_port: key.dst_port,
        protocol: key.protocol,
        id: scatter(tables),
        original: piece.key.id,
        first: piece.length,
        seen: piece.length,
        whole: 0,
        pad: 0,
    };
    tables.set_fragmented(&piece.key, &piece.whole);
}

/// The first two bytes, which are all of it in IPv4, go through 65,536 values before one comes
/// again.
#[inline(always)]
fn scatter<T: Tables>(tables: &T) -> u32 {
    const ODD: u32 = 0x9e37_79b1;
    (tables.next_fragment_id() ^ tables.seed()[0] as u32).wrapping_mul(ODD).to_le()
}

#[inline(always)]
fn account<T: Tables>(tables: &T, parsed: &ParsedPacket) {
    let piece = &parsed.piece;
    let Some(whole) = tables.fragmented(&piece.key) else { return };
    let seen = whole.seen().wrapping_add(piece.length);
    whole.set_seen(seen);
    let mut end = whole.whole();
    if piece.last != 0 {
        end = piece.offset + piece.length;
        whole.set_whole(end);
    }
    if end != 0 && seen >= end {
        tables.forget_fragmented(&piece.key);
    }
}

#[inline(always)]
fn renumber<P: Packet>(packet: &mut P, parsed: &ParsedPacket) -> Result<(), Reason> {
    let id = parsed.piece.whole.id.to_ne_bytes();
    match parsed.family {
        Family::V4 => {
            let ip = packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
            ip.check = Delta::NONE.word(ip.id, [id[0], id[1]]).apply(ip.check);
            ip.id = [id[0], id[1]];
        }
        Family::V6 => {
            let place = packet.at_far_mut::<[u8; 4]>(parsed.piece.place);
            *place.ok_or(Reason::Truncated)? = id;
        }
    }
    Ok(())
}
