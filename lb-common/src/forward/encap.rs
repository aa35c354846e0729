//! `l2`, `ipip`, `gue`: the packet as it is, to a backend that answers the client itself.
//!
//! All that is the same for each packet of a flow is worked out when the flow is opened. A packet
//! then costs the moving of the frame's start, one header or two, and a handful of additions.

use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    abi::{GUE_PORT, mode},
    context::{map_values::FlowRef, parsed::Scratch, tables::Tables, verdict::Reason},
    flow_table::table,
    wire::{
        checksum::Delta,
        packet::Packet,
        parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family, L3, TCP, UDP},
    },
};

/// TTL and hop limit of outer headers (RFC 1700, "Default TTL").
const TTL: u8 = 64;
/// Outer headers are never fragmented: a packet that would be too large with them is answered.
const DONT_FRAGMENT: [u8; 2] = [0x40, 0];
/// Where a frame says what it carries.
const ETHERTYPE: usize = 12;

/// IP protocol numbers of an inner packet.
const IPV4: u8 = 4;
const IPV6: u8 = 41;

/// Works out what all packets of a new flow have in common. The outer headers carry some bits of
/// the flow's hash, the lower ones: the upper ones chose the backend.
#[inline(never)]
pub(crate) fn prepare<T: Tables>(tables: &T, scratch: &Scratch) -> Result<(), Reason> {
    let flow = table::entry(tables, scratch.onward.flow).ok_or(Reason::Inconsistent)?;
    if flow.mode() != mode::IPIP && flow.mode() != mode::GUE {
        return Ok(());
    }
    let backend = tables.backend(flow.backend()).ok_or(Reason::Inconsistent)?;
    let hash = scratch.parsed.key.hash();
    let mask = (1_u64 << (backend.spread & 63)).wrapping_sub(1) as u32;
    let source = backend.source.with_last(hash, mask);
    flow.set_source(source);
    // The dynamic ports (RFC 6335).
    flow.set_source_port((hash as u16 | 0xc000).to_be_bytes());
    let is_udp = flow.mode() == mode::GUE;
    let header = if source.is_v4() { Ipv4Hdr::LEN } else { Ipv6Hdr::LEN };
    let length = header + if is_udp { UdpHdr::LEN } else { 0 };
    flow.set_overhead(length as u32);
    let addresses = Delta::NONE.plus_address(source).plus_address(backend.address);
    let outer = addresses.plus([0x45, 0]).plus(DONT_FRAGMENT).plus([TTL, protocol(flow)]);
    flow.set_l3_delta(outer.bits());
    if is_udp {
        let port = if backend.port == [0, 0] { GUE_PORT.to_be_bytes() } else { backend.port };
        flow.set_backend_port(port);
        let ends = addresses.plus([0, UDP as u8]).plus(flow.source_port()).plus(port);
        flow.set_l4_delta(ends.and(constant_sum(flow)).bits());
    }
    Ok(())
}

/// What the outer IP header says of what follows it.
#[inline(always)]
fn protocol(flow: FlowRef) -> u8 {
    if flow.mode() == mode::GUE {
        UDP as u8
    } else if flow.vip().is_v4() {
        IPV4
    } else {
        IPV6
    }
}

/// The sum over any segment of the flow with its IP header, as far as it is the same for all.
///
/// A right IPv4 header adds up to nothing, and a segment with a right checksum to its pseudo
/// header's complement. So no byte of it has to be read: local checksum offload, as in the kernel's
/// Documentation/networking/checksum-offloads.rst. An IPv6 header has no checksum, but shares the
/// addresses with the pseudo header, which takes them away again.
#[inline(always)]
fn constant_sum(flow: FlowRef) -> Delta {
    let protocol = Delta::NONE.plus([0, flow.protocol() as u8]).reversed();
    if flow.vip().is_v4() {
        // The segment's length is the packet's less its header.
        let header = (Ipv4Hdr::LEN as u16).to_be_bytes();
        protocol.plus(header).minus_address(flow.client()).minus_address(flow.vip())
    } else {
        protocol
    }
}

/// What outer headers need to know of the packet that they go round.
#[derive(Clone, Copy)]
struct Inner {
    /// Bytes.
    length: u16,
    /// DSCP and ECN, which the outer header repeats (RFC 6040, "normal mode").
    class: u8,
    /// What this packet adds to [`constant_sum`].
    sum: Delta,
    /// Whether header and segment are such that their sum is known.
    is_plain: bool,
}

/// Makes a client's packet what its backend gets, but for the Ethernet addresses.
///
/// The inner packet loses a hop, too: one that comes back to us, by a tunnel or a backend that
/// routes it, dies out.
#[inline(never)]
pub fn direct<P: Packet>(packet: &mut P, family: Family, flow: FlowRef) -> Result<(), Reason> {
    let inner = match family {
        Family::V4 => inner_v4(packet, flow)?,
        Family::V6 => inner_v6(packet, flow)?,
    };
    let mode = flow.mode();
    if mode == mode::L2 {
        return Ok(());
    }
    let check = if mode == mode::GUE { udp_checksum(packet, family, flow, inner) } else { [0; 2] };
    if !packet.adjust_head(-(flow.overhead() as i32)) {
        return Err(Reason::NoHeadroom);
    }
    let udp = if flow.source().is_v4() {
        outer_v4(packet, flow, inner)?;
        Family::V4.l4()
    } else {
        outer_v6(packet, flow, inner)?;
        Family::V6.l4()
    };
    if mode != mode::GUE {
        return Ok(());
    }
    let header = packet.at_mut::<UdpHdr>(udp).ok_or(Reason::Truncated)?;
    header.src = flow.source_port();
    header.dst = flow.backend_port();
    header.len = datagram(inner);
    header.check = check;
    Ok(())
}

#[inline(always)]
fn inner_v4<P: Packet>(packet: &mut P, flow: FlowRef) -> Result<Inner, Reason> {
    let ip = packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
    ip.check = Delta::TTL.apply(ip.check);
    ip.ttl -= 1;
    let whole = ip.vihl == 0x45 && u16::from_be_bytes(ip.frags) & 0x3fff == 0;
    Ok(Inner {
        length: u16::from_be_bytes(ip.tot_len),
        class: ip.tos,
        sum: Delta::NONE.plus(ip.tot_len).reversed(),
        is_plain: whole && ip.proto as u32 == flow.protocol(),
    })
}

#[inline(always)]
fn inner_v6<P: Packet>(packet: &mut P, flow: FlowRef) -> Result<Inner, Reason> {
    let ip = packet.at_mut::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
    ip.hop_limit -= 1;
    let [a, b, c, d] = ip.vcf;
    let sum = Delta::NONE.plus([a, b]).plus([c, d]).plus([ip.next_hdr, ip.hop_limit]);
    Ok(Inner {
        length: u16::from_be_bytes(ip.payload_len).wrapping_add(Ipv6Hdr::LEN as u16),
        class: (u16::from_be_bytes([a, b]) >> 4) as u8,
        sum,
        is_plain: ip.next_hdr as u32 == flow.protocol(),
    })
}

/// Length of the datagram around a packet.
#[inline(always)]
fn datagram(inner: Inner) -> [u8; 2] {
    inner.length.wrapping_add(UdpHdr::LEN as u16).to_be_bytes()
}

/// The outer UDP checksum by arithmetic; none where that cannot know it (RFC 768; for IPv6 RFC 6935
/// and RFC 6936): fragments, ICMP, UDP that has none or that is shorter than its packet.
#[inline(always)]
fn udp_checksum<P: Packet>(packet: &P, family: Family, flow: FlowRef, inner: Inner) -> [u8; 2] {
    if !inner.is_plain {
        return [0, 0];
    }
    if flow.protocol() != TCP {
        let Some(udp) = packet.at::<UdpHdr>(family.l4()) else { return [0, 0] };
        let segment = inner.length.wrapping_sub((family.l4() - L3) as u16);
        if udp.check == [0, 0] || u16::from_be_bytes(udp.len) != segment {
            return [0, 0];
        }
    }
    // Once in the header, once in the pseudo header.
    let length = datagram(inner);
    Delta::from_bits(flow.l4_delta()).and(inner.sum).plus(length).plus(length).checksum_udp()
}

#[inline(always)]
fn outer_v4<P: Packet>(packet: &mut P, flow: FlowRef, inner: Inner) -> Result<(), Reason> {
    let length = inner.length.wrapping_add(flow.overhead() as u16).to_be_bytes();
    *packet.at_mut::<[u8; 2]>(ETHERTYPE).ok_or(Reason::Truncated)? = ETHERTYPE_IPV4.to_be_bytes();
    let ip = packet.at_mut::<Ipv4Hdr>(L3).ok_or(Reason::Truncated)?;
    ip.vihl = 0x45;
    ip.tos = inner.class;
    ip.tot_len = length;
    // Nobody puts what is never fragmented together (RFC 6864, 4.1).
    ip.id = [0, 0];
    ip.frags = DONT_FRAGMENT;
    ip.ttl = TTL;
    ip.proto = protocol(flow);
    let sum = Delta::from_bits(flow.l3_delta()).plus(length).plus([0, inner.class]);
    ip.check = sum.checksum();
    ip.src_addr = flow.source().low();
    ip.dst_addr = flow.backend_address().low();
    Ok(())
}

#[inline(always)]
fn outer_v6<P: Packet>(packet: &mut P, flow: FlowRef, inner: Inner) -> Result<(), Reason> {
    let length = inner.length.wrapping_add(flow.overhead() as u16 - Ipv6Hdr::LEN as u16);
    *packet.at_mut::<[u8; 2]>(ETHERTYPE).ok_or(Reason::Truncated)? = ETHERTYPE_IPV6.to_be_bytes();
    let ip = packet.at_mut::<Ipv6Hdr>(L3).ok_or(Reason::Truncated)?;
    // Routers spread tunnels by their flow label (RFC 6438).
    let label = u16::from_be_bytes(flow.source_port()) as u32;
    ip.vcf = (6 << 28 | (inner.class as u32) << 20 | label).to_be_bytes();
    ip.payload_len = length.to_be_bytes();
    ip.next_hdr = protocol(flow);
    ip.hop_limit = TTL;
    ip.src_addr = flow.source().bytes();
    ip.dst_addr = flow.backend_address().bytes();
    Ok(())
}
