//! Packets whose transport header does not stand where it usually does: behind IPv4 options or IPv6
//! extension headers, or in another fragment.

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use super::fragment;
use crate::wire::{
    packet::Packet,
    parse::{Family, ICMP, ICMPV6, Kind, L3, TCP, UDP, extension},
};
use crate::{
    abi::FragmentKey,
    context::{
        parsed::{Extent, ParsedPacket},
        tables::Tables,
        verdict::Reason,
    },
    flow_table::table,
};

/// Extension headers that are looked behind, and their bytes together.
const HEADERS: u64 = 8;
const BYTES: u32 = 256;

/// First step: to the transport header, and which fragment it is.
#[inline(never)]
pub(crate) fn walk<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &mut ParsedPacket,
) -> Result<(), Reason> {
    packet.anchor();
    match parsed.family {
        Family::V4 => options(packet, tables, parsed),
        Family::V6 => chain(packet, tables, parsed),
    }
}

/// Second step: the ports, by the transport header or, in a later fragment, by what the first one
/// left.
#[inline(never)]
pub(crate) fn read<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &mut ParsedPacket,
) -> Result<(), Reason> {
    packet.anchor();
    if parsed.piece.extent == Extent::Later {
        fragment::recall(tables, parsed)?;
    } else {
        transport(packet, parsed).map_err(|reason| explain(reason, parsed))?;
    }
    parsed.hash = table::hash(&parsed.key, tables.seed());
    parsed.kind = Kind::Segment;
    Ok(())
}

/// What a short transport header means.
#[inline(always)]
fn explain(reason: Reason, parsed: &ParsedPacket) -> Reason {
    match (reason, parsed.piece.extent) {
        (Reason::Truncated, Extent::First) => Reason::FragmentTiny,
        (Reason::Truncated, _) => Reason::BadTransportHeader,
        _ => reason,
    }
}

/// [`Reason::Truncated`]: the header is longer than the rest of the packet.
#[inline(always)]
fn transport<P: Packet>(packet: &P, parsed: &mut ParsedPacket) -> Result<(), Reason> {
    let first = parsed.piece.extent == Extent::First;
    let (rest, l4) = (parsed.rest, parsed.l4);
    if parsed.key.protocol != TCP && parsed.key.protocol != UDP {
        return Err(unsupported(parsed));
    }
    if rest < UdpHdr::LEN as u32 {
        return Err(Reason::Truncated);
    }
    let head = packet.at_far::<UdpHdr>(l4).ok_or(Reason::Truncated)?;
    parsed.key.src_port = head.src;
    parsed.key.dst_port = head.dst;
    if parsed.key.protocol == TCP {
        // Data offset and flags, twelve bytes in.
        let bytes = packet.at_far::<[u8; 8]>(l4 + 12).ok_or(Reason::Truncated)?;
        parsed.flags = u32::from(bytes[1]);
        let header = u32::from(bytes[0] >> 4) * 4;
        return match header {
            ..20 => Err(Reason::BadTransportHeader),
            _ if header > rest => Err(Reason::Truncated),
            _ => Ok(()),
        };
    }
    let datagram = u32::from(u16::from_be_bytes(head.len));
    let bare = parsed.family == Family::V6 && head.check == [0, 0];
    // The first fragment's datagram goes on in others.
    let fits = if first { datagram > rest } else { datagram <= rest };
    if datagram < UdpHdr::LEN as u32 || !fits || bare {
        return Err(Reason::BadTransportHeader);
    }
    Ok(())
}

/// Why a packet that carries something else is not followed.
#[inline(always)]
fn unsupported(parsed: &ParsedPacket) -> Reason {
    match (parsed.key.protocol, parsed.piece.extent, parsed.family) {
        (ICMP, Extent::First, Family::V4) | (ICMPV6, Extent::First, Family::V6) => Reason::Fragment,
        (ICMP, _, Family::V4) => Reason::IpOptions,
        (ICMPV6, _, Family::V6) => Reason::ExtensionHeader,
        _ => Reason::UnsupportedProtocol,
    }
}

/// `parse` has seen that the header is whole, and its lengths agree.
#[inline(always)]
fn options<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &mut ParsedPacket,
) -> Result<(), Reason> {
    let ip = packet.at::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
    let header = u32::from(ip.vihl & 0xf) * 4;
    let total = u32::from(u16::from_be_bytes(ip.tot_len));
    let id = u32::from(u16::from_ne_bytes(ip.id));
    let frags = u16::from_be_bytes(ip.frags);
    let l4 = L3 as u32 + header;
    parsed.l4 = l4;
    parsed.rest = total.wrapping_sub(header);
    let key = &parsed.key;
    parsed.piece.key = FragmentKey { src: key.src, dst: key.dst, id, protocol: key.protocol };
    parsed.piece.place = L3 as u32 + 4;
    scan(packet, tables, L3 as u32 + 20, l4)?;
    let (offset, more) = (u32::from(frags & 0x1fff) * 8, frags & 0x2000 != 0);
    fragment::place(parsed, offset, more)
}

/// Every option between `from` and `to` (RFC 791, 3.1).
#[inline(always)]
fn scan<P: Packet, T: Tables>(packet: &P, tables: &T, from: u32, to: u32) -> Result<(), Reason> {
    const BYTES: u64 = 40;
    const END: u8 = 0;
    const NOP: u8 = 1;
    const LOOSE_ROUTE: u8 = 131;
    const STRICT_ROUTE: u8 = 137;
    // LLVM would see that it is small and leave out what bounds each access; kernels before 6.8 do
    // not learn that from comparing two registers.
    let to = tables.barrier(to);
    let mut at = from;
    for _ in 0..BYTES {
        // Any, as far as the verifier knows: or it would follow each sequence of lengths.
        at = tables.barrier(at);
        if at >= to {
            break;
        }
        // The last option may be its kind alone: then the transport header follows, or data.
        let [kind, length] = *packet.at_far::<[u8; 2]>(at).ok_or(Reason::Truncated)?;
        match kind {
            END => break,
            NOP => at += 1,
            LOOSE_ROUTE | STRICT_ROUTE => return Err(Reason::SourceRoute),
            _ => {
                at += u32::from(length);
                if length < 2 || at > to {
                    return Err(Reason::IpOptions);
                }
            }
        }
    }
    Ok(())
}

/// Every extension header (RFC 8200, 4). Their order is the sender's but for hop-by-hop options,
/// which come first.
#[inline(always)]
fn chain<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &mut ParsedPacket,
) -> Result<(), Reason> {
    let ip = packet.at::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
    let first = Family::V6.l4() as u32;
    let end = first + u32::from(u16::from_be_bytes(ip.payload_len));
    let (mut next, mut at) = (u32::from(ip.next_hdr), first);
    for turn in 0..HEADERS {
        // Any, as far as the verifier knows: or it would follow each sequence of headers.
        (next, at) = (tables.barrier(next), tables.barrier(at));
        if matches!(next, TCP | UDP | ICMPV6) {
            break;
        }
        if at + 8 > end {
            return Err(Reason::Truncated);
        }
        let head = *packet.at_far::<[u8; 8]>(at).ok_or(Reason::Truncated)?;
        match next {
            extension::FRAGMENT => {
                parsed.piece.place = at + 4;
                step_into(parsed, head, at + 8, end)?;
                if parsed.piece.extent == Extent::Later {
                    return Ok(());
                }
            }
            extension::HOP_BY_HOP if turn > 0 => return Err(Reason::ExtensionHeader),
            extension::ROUTING if head[3] != 0 => return Err(Reason::SourceRoute),
            extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION => {
                at += u32::from(head[1]) * 8;
            }
            other if extension::is_refused(other) => return Err(Reason::ExtensionHeader),
            _ => return Err(Reason::UnsupportedProtocol),
        }
        (next, at) = (u32::from(head[0]), at + 8);
        if at > first + BYTES {
            return Err(Reason::ExtensionHeader);
        }
    }
    if !matches!(next, TCP | UDP | ICMPV6) {
        return Err(Reason::ExtensionHeader);
    }
    if at > end {
        return Err(Reason::Truncated);
    }
    parsed.key.protocol = next;
    parsed.l4 = at;
    parsed.rest = end - at;
    Ok(())
}

/// A fragment header, whose data goes from `at` to `end`. An atomic fragment is a packet by itself
/// (RFC 6946).
#[inline(always)]
fn step_into(parsed: &mut ParsedPacket, head: [u8; 8], at: u32, end: u32) -> Result<(), Reason> {
    let frags = u32::from(u16::from_be_bytes([head[2], head[3]]));
    let id = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
    if parsed.piece.extent != Extent::Whole {
        return Err(Reason::ExtensionHeader);
    }
    let key = &parsed.key;
    parsed.piece.key = FragmentKey { src: key.src, dst: key.dst, id, protocol: 0 };
    parsed.rest = end - at;
    fragment::place(parsed, frags & 0xfff8, frags & 1 != 0)
}
