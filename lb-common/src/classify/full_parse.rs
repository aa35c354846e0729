//! Reading a packet that the fast path does not read.

use super::extension_headers;
use crate::{
    abi::FlowKey,
    context::{
        parsed::{Extent, Scratch},
        reason::Reason,
        tables::Tables,
    },
    flow_table::{half_open, table},
    wire::{
        packet::Packet,
        parse::{Headers, Kind, UDP, parse, tcp_flags},
    },
};

/// Reads a packet that the fast path does not read. What cannot be read is dropped if it is for us.
#[inline(never)]
pub(crate) fn parse_full<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    packet.anchor();
    let parsed = &mut scratch.parsed;
    let mut headers = Headers::unread();
    parsed.key = FlowKey::unread();
    let kind = parse(packet, &mut parsed.key, &mut headers);
    parsed.family = headers.family;
    parsed.flags = headers.flags;
    parsed.l4 = headers.family.l4() as u32;
    parsed.piece.extent = Extent::Whole;
    parsed.hash = table::hash(&parsed.key, tables.seed());
    if parsed.flags & tcp_flags::SYN != 0 || parsed.key.protocol == UDP {
        half_open::fetch(tables, parsed.hash, scratch.turn);
    }
    parsed.kind = match kind {
        Err(_) if !tables.owns(&parsed.key.dst) => Kind::Foreign,
        kind => kind?,
    };
    Ok(())
}

/// Reads what is behind options and extension headers, or in other fragments.
#[inline(always)]
pub(crate) fn parse_extension_headers<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let read = extension_headers::walk(packet, tables, &mut scratch.parsed)
        .and_then(|()| extension_headers::read(packet, tables, &mut scratch.parsed));
    match read {
        Err(_) if !tables.owns(&scratch.parsed.key.dst) => {
            scratch.parsed.kind = Kind::Foreign;
            Ok(())
        }
        read => read,
    }
}
