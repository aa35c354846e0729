//! QUIC connections whose client has another address than before: their connection id, which the
//! server chose, names it (docs/quic.md).

use crate::{
    abi::{QuicKey, ServerId, counter, status},
    context::{
        map_values::FlowRef,
        parsed::{NOBODY, Scratch},
        tables::Tables,
        verdict::{NextStep, Reason},
    },
    flow_table::table,
    wire::{packet::Packet, parse::UDP},
};

/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;
/// First byte of a packet with a long header (RFC 8999, 5.1), the same in every version.
const LONG: u8 = 0x80;
/// Of a connection id's first byte, what says by which configuration it was made
/// (draft-ietf-quic-load-balancers, 3). There is one, 0; 7 stands for none.
const CONFIGURATION: u8 = 0xe0;

/// The backend that a packet of a QUIC service names, if it is there: the flow is opened to it.
/// Else [`NOBODY`]: the client's first packets have an id of its own making.
#[inline(never)]
pub(crate) fn named<P: Packet, T: Tables>(packet: &P, tables: &T, scratch: &Scratch) -> u32 {
    packet.anchor();
    server(packet, tables, scratch.onward.service, scratch.parsed.l4)
}

#[inline(always)]
fn server<P: Packet, T: Tables>(packet: &P, tables: &T, service: u32, l4: u32) -> u32 {
    let length = tables.service(service).map_or(0, |service| service.server_id_length);
    // Of a later fragment nothing is known.
    if length == 0 || l4 == 0 {
        return NOBODY;
    }
    let Some(id) = connection(packet, length, l4 + UDP_HEADER) else { return NOBODY };
    let Some(backend) = tables.quic_server(&QuicKey { service, pad: 0, id }) else { return NOBODY };
    match tables.reach(backend) {
        Some(reach) if reach.status() != status::GONE => backend,
        _ => NOBODY,
    }
}

/// Whether a packet of a known flow names another backend than the flow's.
#[inline(always)]
pub(crate) fn names_another<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    l4: u32,
    flow: FlowRef,
) -> bool {
    let named = server(packet, tables, flow.service(), l4);
    named != NOBODY && named != flow.backend()
}

/// Whether the backend that a packet names takes no more flows. A flow to it would be opened
/// elsewhere, and end for the next packet.
#[inline(always)]
fn is_full<P: Packet, T: Tables>(packet: &P, tables: &T, l4: u32, service: u32) -> bool {
    let named = server(packet, tables, service, l4);
    let backend = tables.backend(named);
    backend.is_none_or(|it| tables.load(it.load) >= it.hard_limit as u64)
}

/// Takes a known flow out for a packet that names another backend, and has one opened to that: a
/// client's address and port may be another's by now, its connection ids never are.
#[inline(never)]
pub(crate) fn reroute<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    packet.anchor();
    let flow = table::entry(tables, scratch.onward.flow).ok_or(Reason::Inconsistent)?;
    if flow.watched() == 0 || scratch.parsed.key.protocol != UDP {
        return Ok(());
    }
    if !names_another(packet, tables, scratch.parsed.l4, flow) {
        return Ok(());
    }
    let service = flow.service();
    if is_full(packet, tables, scratch.parsed.l4, service) {
        return Ok(());
    }
    if !table::remove(tables, flow) {
        return Err(Reason::RacedFlow);
    }
    tables.count(counter::REROUTED);
    scratch.onward.service = service;
    scratch.onward.way = NextStep::Open;
    Ok(())
}

/// The server id of the packet that begins at `start`.
#[inline(always)]
fn connection<P: Packet>(packet: &P, length: u32, start: u32) -> Option<ServerId> {
    // First byte, version, length of the connection id: long headers alone tell the latter two.
    let head = *packet.at_far::<[u8; 6]>(start)?;
    let long = head[0] & LONG != 0;
    if long && u32::from(head[5]) <= length {
        return None;
    }
    let at = start + if long { 6 } else { 1 };
    // Wherever there is an id, more than sixteen bytes follow its first: a packet is never shorter.
    let first = *packet.at_far::<[u8; 2]>(at)?;
    if first[0] & CONFIGURATION != 0 {
        return None;
    }
    let low = *packet.at_far::<[u8; 8]>(at + 1)?;
    let high = *packet.at_far::<[u8; 8]>(at + 9)?;
    Some(ServerId::new(low, high, length))
}
