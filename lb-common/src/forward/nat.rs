//! `nat`: another source and destination in place, checksums by difference, one hop less to live.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    abi::{Address, Hop},
    context::{map_values::FlowRef, verdict::Reason},
    wire::{
        checksum::Delta,
        packet::Packet,
        parse::{Family, Headers, L3, TCP},
    },
};

/// Whether the packet may be forwarded once more (RFC 1812, 5.3.1; RFC 8200, 3).
#[inline(always)]
pub fn check_ttl<P: Packet>(packet: &P, family: Family) -> Result<(), Reason> {
    let ttl = match family {
        Family::V4 => packet.at::<Ipv4Hdr>(L3).map(|ip| ip.ttl),
        Family::V6 => packet.at::<Ipv6Hdr>(L3).map(|ip| ip.hop_limit),
    };
    if ttl.ok_or(Reason::Truncated)? > 1 { Ok(()) } else { Err(Reason::TtlExceeded) }
}

/// What a packet's addresses and ports become, and what that does to its checksums.
#[derive(Clone, Copy)]
pub struct NatRewrite {
    pub src: Address,
    pub dst: Address,
    pub src_port: [u8; 2],
    pub dst_port: [u8; 2],
    pub l3: Delta,
    pub l4: Delta,
}

impl NatRewrite {
    #[inline(always)]
    #[must_use]
    pub fn to_backend(flow: FlowRef) -> Self {
        Self {
            src: flow.source(),
            dst: flow.backend_address(),
            src_port: flow.source_port(),
            dst_port: flow.backend_port(),
            l3: Delta::from_bits(flow.l3_delta()),
            l4: Delta::from_bits(flow.l4_delta()),
        }
    }

    #[inline(always)]
    #[must_use]
    pub fn to_client(flow: FlowRef) -> Self {
        Self {
            src: flow.vip(),
            dst: flow.client(),
            src_port: flow.vip_port(),
            dst_port: flow.client_port(),
            l3: Delta::from_bits(flow.l3_delta()).reversed(),
            l4: Delta::from_bits(flow.l4_delta()).reversed(),
        }
    }
}

/// Rewrites a segment, or a fragment of one.
#[inline(always)]
pub fn nat<P: Packet>(
    packet: &mut P,
    protocol: u32,
    headers: Headers,
    turn: NatRewrite,
) -> Result<(), Reason> {
    network(packet, headers.family, turn)?;
    // Only the first fragment has ports and a checksum.
    if headers.l4 == 0 { Ok(()) } else { transport(packet, protocol, headers.l4, turn) }
}

/// Addresses and TTL.
#[inline(always)]
pub fn network<P: Packet>(packet: &mut P, family: Family, turn: NatRewrite) -> Result<(), Reason> {
    match family {
        Family::V4 => {
            let ip = packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
            ip.check = turn.l3.and(Delta::TTL).apply(ip.check);
            ip.ttl -= 1;
            ip.src_addr = turn.src.low();
            ip.dst_addr = turn.dst.low();
        }
        Family::V6 => {
            let ip = packet.at_mut::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
            ip.hop_limit -= 1;
            ip.src_addr = turn.src.bytes();
            ip.dst_addr = turn.dst.bytes();
        }
    }
    Ok(())
}

#[inline(always)]
fn transport<P: Packet>(
    packet: &mut P,
    protocol: u32,
    l4: u32,
    turn: NatRewrite,
) -> Result<(), Reason> {
    // One view over ports and checksum: TCP's stands at 16, UDP's at 6.
    if protocol == TCP {
        let tcp = packet.at_far_mut::<[u8; 20]>(l4).ok_or(Reason::Truncated)?;
        [tcp[0], tcp[1]] = turn.src_port;
        [tcp[2], tcp[3]] = turn.dst_port;
        [tcp[16], tcp[17]] = turn.l4.apply([tcp[16], tcp[17]]);
    } else {
        let udp = packet.at_far_mut::<[u8; 8]>(l4).ok_or(Reason::Truncated)?;
        [udp[0], udp[1]] = turn.src_port;
        [udp[2], udp[3]] = turn.dst_port;
        [udp[6], udp[7]] = turn.l4.apply_udp([udp[6], udp[7]]);
    }
    Ok(())
}

/// Addresses the frame to the next hop.
#[inline(always)]
pub fn link<P: Packet>(packet: &mut P, hop: Hop) -> Result<(), Reason> {
    let (long, short) = hop.macs();
    *packet.at_mut::<[u8; 8]>(0).ok_or(Reason::Truncated)? = long;
    *packet.at_mut::<[u8; 4]>(8).ok_or(Reason::Truncated)? = short;
    Ok(())
}
