//! QUIC connections whose client has another address than before: their connection id, which the
//! server chose, names it (docs/quic.md).

use crate::{
    abi::{QuicKey, ServerId, status},
    arrival::{Desk, NOBODY},
    packet::Packet,
    tables::Tables,
};

/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;
/// First byte of a packet with a long header (RFC 8999, 5.1), the same in every version.
const LONG: u8 = 0x80;
/// Of a connection id's first byte, what says by which configuration it was made
/// (draft-ietf-quic-load-balancers, 3). There is one, 0; 7 stands for none.
const CONFIGURATION: u8 = 0xe0;

/// The backend that a packet of a QUIC service names, if it is there: the flow is opened to it. Else
/// [`NOBODY`]: the client's first packets have an id of its own making.
#[inline(never)]
pub(crate) fn named<P: Packet, T: Tables>(packet: &P, tables: &T, desk: &Desk) -> u32 {
    packet.anchor();
    let service = desk.onward.service;
    let length = tables.service(service).map_or(0, |service| service.server_id_length);
    if length == 0 {
        return NOBODY;
    }
    let start = desk.arrival.l4 + UDP_HEADER;
    let Some(id) = connection(packet, length, start) else { return NOBODY };
    let Some(backend) = tables.quic_server(&QuicKey { service, pad: 0, id }) else { return NOBODY };
    match tables.reach(backend) {
        Some(reach) if reach.status() == status::HERE => backend,
        _ => NOBODY,
    }
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
