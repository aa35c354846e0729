//! A TCP reset for a segment that nobody takes (RFC 9293, 3.10.7.1).

use core::hint::black_box;

use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    arrival::{Arrival, Desk},
    checksum::Sum,
    flow::{Family, L3, TCP, tcp_flags},
    packet::Packet,
    verdict::{Reason, Way},
};

/// TTL of what we send ourselves (RFC 1700, "Default TTL").
const TTL: u8 = 64;
/// Bytes of a TCP header without options.
const HEADER: usize = 20;

/// Tells the sender of a TCP segment that it has no connection; drops what is no TCP, and what is
/// itself a reset. The reason is in the exit.
#[inline(never)]
pub(crate) fn refuse<P: Packet>(packet: &mut P, desk: &mut Desk) -> Result<Way, Reason> {
    let Desk { arrival, onward, .. } = desk;
    if arrival.key.protocol != TCP || arrival.flags & tcp_flags::RST != 0 {
        return Err(onward.exit.reason);
    }
    let numbers = numbers(packet, arrival)?;
    let by = arrival.family.l4() + HEADER;
    // Whole before it is narrowed: the kernel's verifier has no 32-bit difference of pointers.
    let length = black_box(packet.length());
    if !packet.adjust_tail(by as i32 - length as i32) {
        return Err(onward.exit.reason);
    }
    link(packet)?;
    match arrival.family {
        Family::V4 => network_v4(packet)?,
        Family::V6 => network_v6(packet)?,
    }
    transport(packet, arrival, numbers)?;
    Ok(Way::Answer)
}

/// Sequence number, in the upper half, and acknowledgement number that the sender will believe: the
/// number that it acknowledged, or an acknowledgement of all that it sent.
#[inline(always)]
fn numbers<P: Packet>(packet: &P, arrival: &Arrival) -> Result<u64, Reason> {
    use tcp_flags::{ACK, FIN, SYN};
    let l4 = arrival.family.l4();
    if arrival.flags & ACK != 0 {
        return Ok((word(packet, l4 + 8)? as u64) << 32);
    }
    let header = (word(packet, l4 + 12)? >> 28) * 4;
    // SYN and FIN take a number each (RFC 9293, 3.4).
    let marks = (arrival.flags & SYN != 0) as u32 + (arrival.flags & FIN != 0) as u32;
    let payload = length(packet, arrival.family)?.wrapping_sub(header);
    Ok(word(packet, l4 + 4)?.wrapping_add(payload).wrapping_add(marks) as u64)
}

#[inline(always)]
fn word<P: Packet>(packet: &P, offset: usize) -> Result<u32, Reason> {
    packet.at::<[u8; 4]>(offset).map(|bytes| u32::from_be_bytes(*bytes)).ok_or(Reason::Truncated)
}

/// Bytes of the segment, its header included.
#[inline(always)]
fn length<P: Packet>(packet: &P, family: Family) -> Result<u32, Reason> {
    Ok(match family {
        Family::V4 => {
            let ip = packet.at::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
            (u16::from_be_bytes(ip.tot_len) as u32).wrapping_sub(Ipv4Hdr::LEN as u32)
        }
        Family::V6 => {
            let ip = packet.at::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
            u16::from_be_bytes(ip.payload_len) as u32
        }
    })
}

#[inline(always)]
fn link<P: Packet>(packet: &mut P) -> Result<(), Reason> {
    let eth = packet.at_mut::<EthHdr>(0).ok_or(Reason::Truncated)?;
    (eth.dst_addr, eth.src_addr) = (eth.src_addr, eth.dst_addr);
    Ok(())
}

#[inline(always)]
fn network_v4<P: Packet>(packet: &mut P) -> Result<(), Reason> {
    let ip = packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
    ip.tos = 0;
    ip.tot_len = ((Ipv4Hdr::LEN + HEADER) as u16).to_be_bytes();
    ip.id = [0; 2];
    // Don't fragment: only then may the identification be anything (RFC 6864).
    ip.frags = [0x40, 0];
    ip.ttl = TTL;
    ip.check = [0; 2];
    (ip.dst_addr, ip.src_addr) = (ip.src_addr, ip.dst_addr);
    let header = packet.at::<[u8; Ipv4Hdr::LEN]>(L3).ok_or(Reason::Truncated)?;
    let check = Sum::NONE.bytes(header).checksum();
    packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?.check = check;
    Ok(())
}

#[inline(always)]
fn network_v6<P: Packet>(packet: &mut P) -> Result<(), Reason> {
    let ip = packet.at_mut::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
    ip.vcf = [0x60, 0, 0, 0];
    ip.payload_len = (HEADER as u16).to_be_bytes();
    ip.hop_limit = TTL;
    (ip.dst_addr, ip.src_addr) = (ip.src_addr, ip.dst_addr);
    Ok(())
}

#[inline(always)]
fn transport<P: Packet>(packet: &mut P, arrival: &Arrival, numbers: u64) -> Result<(), Reason> {
    use tcp_flags::{ACK, RST};
    let (key, l4) = (&arrival.key, arrival.family.l4());
    let ports = packet.at_mut::<UdpHdr>(l4).ok_or(Reason::Truncated)?;
    (ports.src, ports.dst) = (key.dst_port, key.src_port);
    *packet.at_mut::<[u8; 8]>(l4 + 4).ok_or(Reason::Truncated)? = numbers.to_be_bytes();
    // Five words of header; no window, no checksum yet, nothing urgent.
    let flags = if arrival.flags & ACK != 0 { RST } else { RST | ACK };
    let rest = (5 << 60) | (flags as u64) << 48;
    *packet.at_mut::<[u8; 8]>(l4 + 12).ok_or(Reason::Truncated)? = rest.to_be_bytes();
    let header = packet.at::<[u8; HEADER]>(l4).ok_or(Reason::Truncated)?;
    let sum = Sum::NONE.address(key.src).address(key.dst).word([0, TCP as u8]);
    let check = sum.word((HEADER as u16).to_be_bytes()).bytes(header).checksum();
    *packet.at_mut::<[u8; 2]>(l4 + 16).ok_or(Reason::Truncated)? = check;
    Ok(())
}
