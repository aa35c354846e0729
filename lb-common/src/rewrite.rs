//! `nat`: another source and destination in place, checksums by difference, one hop less to live.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::{
    abi::FlowKey,
    checksum::Delta,
    flow::{Family, L3, TCP},
    packet::Packet,
    tables::FlowRef,
    verdict::Reason,
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

/// Rewrites a segment as its flow entry says and addresses the frame to the next hop.
#[inline(always)]
pub fn nat<P: Packet>(
    packet: &mut P,
    key: &FlowKey,
    family: Family,
    flow: FlowRef,
) -> Result<(), Reason> {
    network(packet, family, flow)?;
    transport(packet, key, family, flow)?;
    link(packet, flow)
}

/// Addresses and TTL.
#[inline(always)]
pub fn network<P: Packet>(packet: &mut P, family: Family, flow: FlowRef) -> Result<(), Reason> {
    match family {
        Family::V4 => {
            let ip = packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
            let delta = Delta::from_bits(flow.l3_delta()).and(Delta::TTL);
            ip.check = delta.apply(ip.check);
            ip.ttl -= 1;
            ip.src_addr = flow.src().low();
            ip.dst_addr = flow.dst().low();
        }
        Family::V6 => {
            let ip = packet.at_mut::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
            ip.hop_limit -= 1;
            ip.src_addr = flow.src().bytes();
            ip.dst_addr = flow.dst().bytes();
        }
    }
    Ok(())
}

#[inline(always)]
fn transport<P: Packet>(
    packet: &mut P,
    key: &FlowKey,
    family: Family,
    flow: FlowRef,
) -> Result<(), Reason> {
    let l4 = family.l4();
    let delta = Delta::from_bits(flow.l4_delta());
    // One view over ports and checksum: TCP's stands at 16, UDP's at 6.
    if key.protocol == TCP {
        let tcp = packet.at_mut::<[u8; 20]>(l4).ok_or(Reason::Truncated)?;
        [tcp[0], tcp[1]] = flow.src_port();
        [tcp[2], tcp[3]] = flow.dst_port();
        [tcp[16], tcp[17]] = delta.apply([tcp[16], tcp[17]]);
    } else {
        let udp = packet.at_mut::<[u8; 8]>(l4).ok_or(Reason::Truncated)?;
        [udp[0], udp[1]] = flow.src_port();
        [udp[2], udp[3]] = flow.dst_port();
        [udp[6], udp[7]] = delta.apply_udp([udp[6], udp[7]]);
    }
    Ok(())
}

#[inline(always)]
pub fn link<P: Packet>(packet: &mut P, flow: FlowRef) -> Result<(), Reason> {
    let (long, short) = flow.next_hop().macs();
    *packet.at_mut::<[u8; 8]>(0).ok_or(Reason::Truncated)? = long;
    *packet.at_mut::<[u8; 4]>(8).ok_or(Reason::Truncated)? = short;
    Ok(())
}
