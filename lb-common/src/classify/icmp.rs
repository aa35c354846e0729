//! ICMP on announced addresses: echo answered here, errors handed to whom they concern.

use network_types::{
    eth::EthHdr,
    icmp::Icmpv4Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use super::{
    admit,
    neighbours::{SOLICITATION, solicited_in_vain},
};
use crate::{
    abi::{Address, FlowKey, Hop, Service, mode, path},
    context::{
        parsed::{Scratch, wish},
        tables::{Part, Tables},
        verdict::{NextStep, Reason},
    },
    flow_table::table::{self, Found, Placement},
    forward::{
        nat::{self, NatRewrite},
        next_hop,
    },
    wire::{
        checksum::Delta,
        packet::Packet,
        parse::{Family, ICMP, L3, TCP, UDP},
    },
};

/// TTL of what we send ourselves (RFC 1700, "Default TTL").
const TTL: u8 = 64;

/// RFC 792 and RFC 4443 message types.
mod kind {
    pub(super) const ECHO_REQUEST_V4: u8 = 8;
    pub(super) const ECHO_REPLY_V4: u8 = 0;
    pub(super) const ECHO_REQUEST_V6: u8 = 128;
    pub(super) const ECHO_REPLY_V6: u8 = 129;
}

enum Class {
    Echo,
    Error,
    /// Neighbour and router discovery (RFC 4861): the host's own business on any address.
    Discovery,
    Other,
}

#[inline(always)]
fn classify(family: Family, kind: u8) -> Class {
    match (family, kind) {
        (Family::V4, kind::ECHO_REQUEST_V4) | (Family::V6, kind::ECHO_REQUEST_V6) => Class::Echo,
        // Destination unreachable, time exceeded, parameter problem; for IPv6 packet too big.
        (Family::V4, 3 | 11 | 12) | (Family::V6, 1..=4) => Class::Error,
        (Family::V6, 133..=137) => Class::Discovery,
        _ => Class::Other,
    }
}

/// A function of its own in the kernel too: rare, and its stack is its own.
#[inline(never)]
pub(crate) fn receive<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    scratch.onward.way = answer(packet, tables, scratch)?;
    Ok(())
}

#[inline(always)]
fn answer<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<NextStep, Reason> {
    let key = &scratch.parsed.key;
    let family = if key.protocol == ICMP { Family::V4 } else { Family::V6 };
    let kind = packet.at::<Icmpv4Hdr>(family.l4()).ok_or(Reason::Truncated)?.type_;
    let class = classify(family, kind);
    if let Class::Error = class {
        return relay(packet, tables, family, scratch);
    }
    match class {
        Class::Discovery if kind == SOLICITATION && solicited_in_vain(packet, tables) => {
            Err(Reason::NotAnswered)
        }
        Class::Discovery => Ok(NextStep::Pass),
        _ if !tables.owns(&key.dst) => Ok(NextStep::Pass),
        Class::Echo => echo(packet, family),
        _ => Err(Reason::IcmpUnsupported),
    }
}

/// Turns an echo request into its reply.
#[inline(always)]
fn echo<P: Packet>(packet: &mut P, family: Family) -> Result<NextStep, Reason> {
    let eth = packet.at_mut::<EthHdr>(0).ok_or(Reason::Truncated)?;
    (eth.dst_addr, eth.src_addr) = (eth.src_addr, eth.dst_addr);
    let reply = match family {
        Family::V4 => {
            let ip = packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
            (ip.dst_addr, ip.src_addr) = (ip.src_addr, ip.dst_addr);
            ip.check = Delta::NONE.word([ip.ttl, ip.proto], [TTL, ip.proto]).apply(ip.check);
            ip.ttl = TTL;
            kind::ECHO_REPLY_V4
        }
        Family::V6 => {
            let ip = packet.at_mut::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
            (ip.dst_addr, ip.src_addr) = (ip.src_addr, ip.dst_addr);
            ip.hop_limit = TTL;
            kind::ECHO_REPLY_V6
        }
    };
    let icmp = packet.at_mut::<[u8; Icmpv4Hdr::LEN]>(family.l4()).ok_or(Reason::Truncated)?;
    let [kind, code, old @ .., a, b, c, d] = *icmp;
    let delta = Delta::NONE.word([kind, code], [reply, code]);
    // An identifier or a sequence number rules out that all is zero.
    let bare = matches!(family, Family::V4) && a | b | c | d == 0;
    [icmp[2], icmp[3]] = if bare { delta.apply_bare(old) } else { delta.apply(old) };
    icmp[0] = reply;
    Ok(NextStep::Reply)
}

/// Offset of the quoted IP header.
#[inline(always)]
const fn quoted_l3(family: Family) -> usize {
    family.l4() + Icmpv4Hdr::LEN
}

/// Offset of the quoted transport header.
#[inline(always)]
const fn quoted_l4(family: Family) -> usize {
    quoted_l3(family) + family.l4() - L3
}

/// The quoted packet turned round: the key of the flow direction that the error travels in.
#[inline(always)]
fn quote<P: Packet>(packet: &P, family: Family) -> Option<FlowKey> {
    let (src, dst, protocol) = match family {
        Family::V4 => {
            let ip = packet.at::<Ipv4Hdr>(quoted_l3(family))?;
            // Options would move the ports, and only a first fragment has them.
            if ip.vihl != 0x45 || u16::from_be_bytes(ip.frags) & 0x1fff != 0 {
                return None;
            }
            (Address::v4(ip.src_addr), Address::v4(ip.dst_addr), ip.proto as u32)
        }
        Family::V6 => {
            let ip = packet.at::<Ipv6Hdr>(quoted_l3(family))?;
            (Address::v6(ip.src_addr), Address::v6(ip.dst_addr), ip.next_hdr as u32)
        }
    };
    if protocol != TCP && protocol != UDP {
        return None;
    }
    let ports = packet.at::<UdpHdr>(quoted_l4(family))?;
    let (src_port, dst_port) = (ports.dst, ports.src);
    Some(FlowKey { src: dst, dst: src, src_port, dst_port, protocol })
}

/// Sends an ICMP error on to the end of the flow that sent the quoted packet, with the quoted
/// packet as that end knows it. A backend that answers clients itself gets it as it came.
#[inline(always)]
fn relay<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    family: Family,
    scratch: &mut Scratch,
) -> Result<NextStep, Reason> {
    let Scratch { parsed, onward, .. } = scratch;
    let dst = &parsed.key.dst;
    // An error is sent to the sender of what it quotes.
    let Some(key) = quote(packet, family).filter(|key| key.dst == *dst) else {
        return unclaimed(tables, dst);
    };
    let hash = table::hash(&key, tables.seed());
    let of_client = of_client(tables, &key, hash);
    if let Some(Found { flow, .. }) = of_client
        && flow.mode() != mode::NAT
    {
        onward.flow = flow.number();
        return Ok(NextStep::Follow);
    }
    let Some(turn) = turn(tables, &key, of_client) else {
        let ranged = || admit::ranged(tables, &key, tables.address(dst)?);
        return match tables.vip(&key.vip()).or_else(ranged) {
            Some(vip) if vip.path == path::PROXY => Ok(NextStep::Proxy),
            Some(vip) => place(packet, tables, scratch, key, vip.service),
            None => unclaimed(tables, dst),
        };
    };
    nat::check_ttl(packet, family)?;
    let inner = requote(packet, family, turn.0, key.protocol)?;
    let outer = readdress(packet, family, turn.0)?;
    let icmp = packet.at_mut::<Icmpv4Hdr>(family.l4()).ok_or(Reason::Truncated)?;
    icmp.check = inner.and(outer).apply(icmp.check);
    nat::link(packet, turn.1)?;
    Ok(onward.exit.through(turn.1))
}

/// An error about a flow that nobody here knows. Where backends answer directly it may be another
/// node's, and goes where a packet of its client would.
#[inline(always)]
fn place<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch,
    key: FlowKey,
    service: u32,
) -> Result<NextStep, Reason> {
    let Service { mode, .. } = *tables.service(service).ok_or(Reason::Inconsistent)?;
    if mode == mode::NAT {
        return Err(Reason::IcmpUnknownFlow);
    }
    let Scratch { parsed, onward, message, .. } = scratch;
    nat::check_ttl(packet, parsed.family)?;
    *message = parsed.key;
    parsed.hash = table::hash(&key, tables.seed());
    parsed.key = key;
    onward.service = service;
    // What it carries is no datagram of QUIC's.
    onward.wishes = wish::ANY & !wish::QUIC;
    Ok(NextStep::Open)
}

/// The flow whose client's packets have this key.
#[inline(always)]
fn of_client<T: Tables>(tables: &T, key: &FlowKey, hash: u64) -> Option<Found> {
    table::of_any_client(tables, Part::Established, key, hash)
        .or_else(|| table::of_any_client(tables, Part::Pending, key, hash))
}

/// The other end of the flow that packets with this key belong to, and the way there.
#[inline(always)]
fn turn<T: Tables>(
    tables: &T,
    key: &FlowKey,
    of_client: Option<Found>,
) -> Option<(NatRewrite, Hop)> {
    let now = tables.now();
    if let Some(Found { flow, .. }) = of_client {
        let reach = tables.reach(flow.backend())?;
        next_hop::of_reach(tables, reach, flow, now).ok()?;
        return Some((NatRewrite::to_backend(flow), reach.hop()));
    }
    let Found { flow, .. } = table::of_backend(tables, key, Placement::of(key, tables.seed()))?;
    next_hop::of_flow(tables, flow, now).ok()?;
    Some((NatRewrite::to_client(flow), flow.way_back()))
}

#[inline(always)]
fn unclaimed<T: Tables>(tables: &T, dst: &Address) -> Result<NextStep, Reason> {
    if tables.owns(dst) { Err(Reason::IcmpUnknownFlow) } else { Ok(NextStep::Pass) }
}

/// Rewrites the quoted packet; the difference that this makes to the ICMP checksum.
#[inline(always)]
fn requote<P: Packet>(
    packet: &mut P,
    family: Family,
    turn: NatRewrite,
    protocol: u32,
) -> Result<Delta, Reason> {
    // The quoted packet goes the other way, but the words that change are the same ones.
    let mut delta = turn.l4;
    match family {
        Family::V4 => {
            let ip = packet.at_mut::<Ipv4Hdr>(quoted_l3(family)).ok_or(Reason::Truncated)?;
            let old = ip.check;
            ip.check = turn.l3.apply(old);
            delta = delta.word(old, ip.check);
            ip.src_addr = turn.dst.low();
            ip.dst_addr = turn.src.low();
        }
        Family::V6 => {
            let ip = packet.at_mut::<Ipv6Hdr>(quoted_l3(family)).ok_or(Reason::Truncated)?;
            ip.src_addr = turn.dst.bytes();
            ip.dst_addr = turn.src.bytes();
        }
    }
    let ports = packet.at_mut::<UdpHdr>(quoted_l4(family)).ok_or(Reason::Truncated)?;
    ports.src = turn.dst_port;
    ports.dst = turn.src_port;
    // TCP's checksum lies beyond the eight bytes that every error quotes, and nobody verifies it.
    if protocol == UDP {
        let old = ports.check;
        ports.check = turn.l4.apply_udp(old);
        delta = delta.word(old, ports.check);
    }
    Ok(delta)
}

/// Sends the error as from our side of the flow, as it does all its packets: the receiver's
/// reverse path checks then hold. The difference to the ICMPv6 checksum's pseudo header.
#[inline(always)]
fn readdress<P: Packet>(packet: &mut P, family: Family, turn: NatRewrite) -> Result<Delta, Reason> {
    match family {
        Family::V4 => {
            let ip = packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
            let delta = Delta::TTL
                .address(Address::v4(ip.src_addr), turn.src)
                .address(Address::v4(ip.dst_addr), turn.dst);
            ip.check = delta.apply(ip.check);
            ip.ttl -= 1;
            ip.src_addr = turn.src.low();
            ip.dst_addr = turn.dst.low();
            Ok(Delta::NONE)
        }
        Family::V6 => {
            let ip = packet.at_mut::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
            let delta = Delta::NONE
                .address(Address::v6(ip.src_addr), turn.src)
                .address(Address::v6(ip.dst_addr), turn.dst);
            ip.hop_limit -= 1;
            ip.src_addr = turn.src.bytes();
            ip.dst_addr = turn.dst.bytes();
            Ok(delta)
        }
    }
}
