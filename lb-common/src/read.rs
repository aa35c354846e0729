//! What is known of a packet goes to the desk, where slow paths find it.

use crate::{
    abi::FlowKey,
    admit,
    arrival::{Asked, Desk, Extent},
    flow::{Family, Headers, Kind, UDP, parse, tcp_flags},
    flow_table, odd,
    packet::Packet,
    tables::Tables,
    verdict::{Reason, Way},
};

/// Reads a packet that is not usual. What cannot be read is dropped if it is for us.
#[inline(never)]
pub(crate) fn examine<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    desk: &mut Desk,
) -> Result<(), Reason> {
    packet.anchor();
    let arrival = &mut desk.arrival;
    let mut headers = Headers::unread();
    arrival.key = FlowKey::unread();
    let parsed = parse(packet, &mut arrival.key, &mut headers);
    arrival.family = headers.family;
    arrival.flags = headers.flags;
    arrival.l4 = headers.family.l4() as u32;
    arrival.piece.extent = Extent::Whole;
    arrival.asked = Asked::Nothing;
    arrival.hash = flow_table::hash(&arrival.key, tables.seed());
    desk.onward.way = Way::Other;
    arrival.kind = match parsed {
        Err(_) if !tables.owns(&arrival.key.dst) => Kind::Foreign,
        parsed => parsed?,
    };
    Ok(())
}

/// Leaves on the desk what has been read of a plain segment, and what the first one of a flow will be
/// asked for: while its place in the table is still on the way from memory, that costs nothing.
#[inline(never)]
pub(crate) fn note<T: Tables>(
    tables: &T,
    desk: &mut Desk,
    key: &FlowKey,
    family: Family,
    flags: u32,
) {
    let arrival = &mut desk.arrival;
    arrival.hash = flow_table::hash(key, tables.seed());
    arrival.asked = Asked::Nothing;
    if flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN || key.protocol == UDP {
        flow_table::fetch(tables, arrival.hash);
        admit::ask(tables, arrival, key);
    }
    // Word by word: the whole would be copied by a call, byte by byte.
    arrival.key.src = key.src;
    arrival.key.dst = key.dst;
    arrival.key.src_port = key.src_port;
    arrival.key.dst_port = key.dst_port;
    arrival.key.protocol = key.protocol;
    arrival.family = family;
    arrival.kind = Kind::Segment;
    arrival.flags = flags;
    arrival.l4 = family.l4() as u32;
    arrival.piece.extent = Extent::Whole;
}

/// Reads what is behind options and extension headers, or in other fragments.
#[inline(always)]
pub(crate) fn unfold<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    desk: &mut Desk,
) -> Result<(), Reason> {
    let read = odd::walk(packet, tables, &mut desk.arrival)
        .and_then(|()| odd::read(packet, tables, &mut desk.arrival));
    match read {
        Err(_) if !tables.owns(&desk.arrival.key.dst) => {
            desk.arrival.kind = Kind::Foreign;
            Ok(())
        }
        read => read,
    }
}
