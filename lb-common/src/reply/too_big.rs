//! "Fragmentation needed" (RFC 792, RFC 1191) and "packet too big" (RFC 4443), made of the packet
//! that was too large and sent to who sent it, from the address that it was sent to.
//!
//! IPv4 packets that may be fragmented get the same answer: XDP makes one frame of one frame, so
//! the only one who can still fragment is the sender, and this is what makes it do so.

use network_types::{
    eth::EthHdr,
    icmp::Icmpv4Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
};

use super::{may_be_answered, rate};
use crate::{
    context::{
        parsed::Scratch,
        tables::Tables,
        verdict::{Egress, NextStep, Reason},
    },
    wire::{
        checksum::Delta,
        packet::Packet,
        parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family, ICMP, ICMPV6, Kind, L3},
    },
};

/// Bytes of the packet that an answer quotes. IPv4: a datagram of 576 bytes (RFC 1812, 4.3.2.3), or
/// no more than RFC 792 wants of a packet shorter than that; IPv6: up to its smallest MTU.
const QUOTE_V4: usize = 548;
const SHORT_QUOTE_V4: usize = Ipv4Hdr::LEN + 8;
const QUOTE_V6: usize = MIN_MTU_V6 - Ipv6Hdr::LEN - Icmpv4Hdr::LEN;

/// RFC 8200, 5; RFC 791, 3.2.
const MIN_MTU_V6: usize = 1280;
const MIN_MTU_V4: u32 = 68;

const TTL: u8 = 64;
/// Internetwork control (RFC 1812, 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;

/// Tells the sender of a packet that is larger than
/// [`Forwarding::carried`](crate::parsed::Forwarding).
#[inline(never)]
pub(crate) fn answer<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let Scratch { parsed, onward, answers, .. } = scratch;
    let length = (packet.length() - L3) as u32;
    if !tables.ingress_takes(length) {
        return Err(Reason::Merged);
    }
    // Never about an error (RFC 1122, 3.2.2).
    let is_error = parsed.kind == Kind::Message;
    if is_error || !may_be_answered(packet, parsed.key.src) || !rate::is_due(answers, tables.now())
    {
        return Err(Reason::TooBig);
    }
    match parsed.family {
        Family::V4 if length as usize >= QUOTE_V4 => v4::<P, QUOTE_V4>(packet, onward.carried)?,
        Family::V4 => v4::<P, SHORT_QUOTE_V4>(packet, onward.carried)?,
        // Nobody sends less than the smallest MTU: whoever promises it must carry it.
        Family::V6 if length as usize <= MIN_MTU_V6 => return Err(Reason::TooBig),
        Family::V6 => v6(packet, onward.carried)?,
    }
    onward.exit = Egress { reason: Reason::TooBig, ..Egress::default() };
    onward.way = NextStep::Answer;
    Ok(())
}

#[inline(always)]
fn v4<P: Packet, const QUOTE: usize>(packet: &mut P, limit: u32) -> Result<(), Reason> {
    let ends = packet.at::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
    let (from, to) = (ends.dst_addr, ends.src_addr);
    let sum = make_room::<P, QUOTE>(packet, Family::V4)?;
    let length = ((Ipv4Hdr::LEN + Icmpv4Hdr::LEN + QUOTE) as u16).to_be_bytes();
    let ip = packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
    ip.vihl = 0x45;
    ip.tos = PRECEDENCE;
    ip.tot_len = length;
    ip.id = [0, 0];
    ip.frags = [0x40, 0];
    ip.ttl = TTL;
    ip.proto = ICMP as u8;
    ip.src_addr = from;
    ip.dst_addr = to;
    let head = Delta::NONE.plus([0x45, PRECEDENCE]).plus(length).plus([0x40, 0]);
    let head = head.plus([TTL, ICMP as u8]);
    let addresses = Delta::NONE.plus([from[0], from[1]]).plus([from[2], from[3]]);
    let addresses = addresses.plus([to[0], to[1]]).plus([to[2], to[3]]);
    ip.check = head.and(addresses).checksum();
    let mtu = if limit > MIN_MTU_V4 { limit } else { MIN_MTU_V4 };
    // Destination unreachable, fragmentation needed; the MTU stands in the second word's second
    // half (RFC 1191, 4).
    message(packet, Family::V4, [3, 4], mtu as u16 as u32, sum)
}

#[inline(always)]
fn v6<P: Packet>(packet: &mut P, limit: u32) -> Result<(), Reason> {
    let ends = packet.at::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
    let pseudo = sum_of_addresses(ends);
    let sum = make_room::<P, QUOTE_V6>(packet, Family::V6)?;
    // The invoking packet's addresses, the other way round.
    let quoted =
        *packet.at::<Ipv6Hdr>(Family::V6.l4() + Icmpv4Hdr::LEN).ok_or(Reason::Truncated)?;
    let length = ((Icmpv4Hdr::LEN + QUOTE_V6) as u16).to_be_bytes();
    let ip = packet.at_mut::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
    ip.vcf = [0x60, 0, 0, 0];
    ip.payload_len = length;
    ip.next_hdr = ICMPV6 as u8;
    ip.hop_limit = TTL;
    ip.src_addr = quoted.dst_addr;
    ip.dst_addr = quoted.src_addr;
    let mtu = if limit > MIN_MTU_V6 as u32 { limit } else { MIN_MTU_V6 as u32 };
    let sum = sum.and(pseudo).plus(length).plus([0, ICMPV6 as u8]);
    message(packet, Family::V6, [2, 0], mtu, sum)
}

#[inline(always)]
fn sum_of_addresses(ip: &Ipv6Hdr) -> Delta {
    use crate::abi::Address;
    let (src, dst) = (Address::v6(ip.src_addr), Address::v6(ip.dst_addr));
    Delta::NONE.plus_address(src).plus_address(dst)
}

/// Turns the frame round and makes it an Ethernet header, room for IP and ICMP headers, and the
/// first bytes of the packet. Their sum.
#[inline(always)]
fn make_room<P: Packet, const QUOTE: usize>(
    packet: &mut P,
    family: Family,
) -> Result<Delta, Reason> {
    let EthHdr { dst_addr, src_addr, .. } = *packet.at::<EthHdr>(0).ok_or(Reason::Truncated)?;
    let surplus = packet.length() - L3 - QUOTE;
    let headers = family.l4() - L3 + Icmpv4Hdr::LEN;
    if !packet.adjust_tail(-(surplus as i32)) || !packet.adjust_head(-(headers as i32)) {
        return Err(Reason::NoHeadroom);
    }
    let eth = packet.at_mut::<EthHdr>(0).ok_or(Reason::Truncated)?;
    eth.dst_addr = src_addr;
    eth.src_addr = dst_addr;
    eth.ether_type = match family {
        Family::V4 => ETHERTYPE_IPV4.to_be(),
        Family::V6 => ETHERTYPE_IPV6.to_be(),
    };
    let sum = packet.sum::<QUOTE>(family.l4() + Icmpv4Hdr::LEN);
    sum.map(Delta::of_sum).ok_or(Reason::Truncated)
}

/// `sum`: of all under the checksum but the ICMP header itself.
#[inline(always)]
fn message<P: Packet>(
    packet: &mut P,
    family: Family,
    kind: [u8; 2],
    mtu: u32,
    sum: Delta,
) -> Result<(), Reason> {
    let [a, b, c, d] = mtu.to_be_bytes();
    let check = sum.plus(kind).plus([a, b]).plus([c, d]).checksum();
    let header = packet.at_mut::<[u8; 8]>(family.l4()).ok_or(Reason::Truncated)?;
    *header = [kind[0], kind[1], check[0], check[1], a, b, c, d];
    Ok(())
}
