//! The frame at hand turned into a bare TCP segment to its sender.

use core::hint::black_box;

use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    context::{parsed::ParsedPacket, verdict::Reason},
    wire::{
        checksum::Sum,
        packet::Packet,
        parse::{Family, L3, TCP},
    },
};

/// TTL of what we send ourselves (RFC 1700, "Default TTL").
const TTL: u8 = 64;
/// Bytes of a TCP header without options.
const HEADER: usize = 20;

#[derive(Clone, Copy)]
pub(crate) struct Numbers {
    pub sequence: u32,
    pub acknowledgement: u32,
}

/// Neither options nor payload, and a window of 0.
#[inline(always)]
pub(crate) fn make<P: Packet>(
    packet: &mut P,
    parsed: &ParsedPacket,
    numbers: Numbers,
    flags: u32,
) -> Result<(), Reason> {
    let end = parsed.family.l4() + HEADER;
    // Whole before it is narrowed: the kernel's verifier has no 32-bit difference of pointers.
    let length = black_box(packet.length());
    if !packet.adjust_tail(end as i32 - length as i32) {
        return Err(Reason::Truncated);
    }
    let eth = packet.at_mut::<EthHdr>(0).ok_or(Reason::Truncated)?;
    (eth.dst_addr, eth.src_addr) = (eth.src_addr, eth.dst_addr);
    match parsed.family {
        Family::V4 => network_v4(packet)?,
        Family::V6 => network_v6(packet)?,
    }
    transport(packet, parsed, numbers, flags)
}

#[inline(always)]
fn network_v4<P: Packet>(packet: &mut P) -> Result<(), Reason> {
    let ip = packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
    ip.vihl = 0x45;
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
    ip.next_hdr = TCP as u8;
    ip.payload_len = (HEADER as u16).to_be_bytes();
    ip.hop_limit = TTL;
    (ip.dst_addr, ip.src_addr) = (ip.src_addr, ip.dst_addr);
    Ok(())
}

#[inline(always)]
fn transport<P: Packet>(
    packet: &mut P,
    parsed: &ParsedPacket,
    numbers: Numbers,
    flags: u32,
) -> Result<(), Reason> {
    let (key, l4) = (&parsed.key, parsed.family.l4());
    let ports = packet.at_mut::<UdpHdr>(l4).ok_or(Reason::Truncated)?;
    (ports.src, ports.dst) = (key.dst_port, key.src_port);
    let both = (numbers.sequence as u64) << 32 | numbers.acknowledgement as u64;
    *packet.at_mut::<[u8; 8]>(l4 + 4).ok_or(Reason::Truncated)? = both.to_be_bytes();
    // Five words of header; no window, no checksum yet, nothing urgent.
    let rest = 5 << 60 | (flags as u64) << 48;
    *packet.at_mut::<[u8; 8]>(l4 + 12).ok_or(Reason::Truncated)? = rest.to_be_bytes();
    let header = packet.at::<[u8; HEADER]>(l4).ok_or(Reason::Truncated)?;
    let sum = Sum::NONE.address(key.src).address(key.dst).word([0, TCP as u8]);
    let check = sum.word((HEADER as u16).to_be_bytes()).bytes(header).checksum();
    *packet.at_mut::<[u8; 2]>(l4 + 16).ok_or(Reason::Truncated)? = check;
    Ok(())
}
