//! The backend's half of `ipip` and `gue`: what went round a packet is taken off it again, so that
//! a backend needs no tunnel device, just the announced address.

use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    abi::Address,
    wire::{
        checksum::Delta,
        packet::Packet,
        parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family, L3, UDP},
    },
};

/// Names of the object's parts, as in the ELF's symbol table.
pub mod names {
    pub const PROGRAM: &str = "lb_decap";
    /// `Address → u32` (unused value), hash: this host's addresses.
    pub const LOCAL: &str = "LOCAL";
    /// `Address → u32` (unused value), LPM trie: who may send tunnelled packets.
    pub const FROM: &str = "FROM";
    /// `Outcome → u64`, per-CPU array.
    pub const OUTCOMES: &str = "OUTCOMES";
    /// Read-only global, `u32`: the UDP port of GUE.
    pub const GUE_PORT: &str = "GUE_PORT";
}

/// IP protocol numbers of an inner packet.
const IPV4: u8 = 4;
const IPV6: u8 = 41;

/// Congestion experienced (RFC 3168, 5).
const CE: u8 = 3;

/// What the host says.
pub trait LocalHost {
    /// Whether an address is this host's.
    fn is_local(&self, address: &Address) -> bool;
    /// Whether tunnelled packets from there are welcome.
    fn admits(&self, address: &Address) -> bool;
    /// UDP port of GUE, network order.
    fn gue_port(&self) -> [u8; 2];
}

/// What became of a frame. All but the stripped ones are byte for byte what they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// No tunnel that ends here.
    Other,
    /// Taken out of IP.
    Ipip,
    /// Taken out of UDP.
    Gue,
    /// From a source that is not among those allowed: left to the host.
    Unwelcome,
    /// The packet within is none, or longer than what it came in: left to the host.
    Malformed,
    /// The packet within is for another host: left to this one.
    Astray,
    /// Congestion was marked outside, and the packet within cannot carry the mark: to be dropped
    /// (RFC 6040, 4.2).
    Congested,
}

impl Outcome {
    pub const ALL: [Self; 7] = [
        Self::Other,
        Self::Ipip,
        Self::Gue,
        Self::Unwelcome,
        Self::Malformed,
        Self::Astray,
        Self::Congested,
    ];
}

/// What an outer IP header says.
#[derive(Clone, Copy)]
struct Outer {
    src: Address,
    dst: Address,
    protocol: u8,
    /// ECN.
    ecn: u8,
    /// Bytes behind the IP header.
    length: usize,
}

/// Takes an outer header off, or two, if this frame has any that end here.
#[inline(always)]
pub fn strip<P: Packet, G: LocalHost>(packet: &mut P, gate: &G) -> Outcome {
    const V4: usize = Family::V4.l4();
    const V6: usize = Family::V6.l4();
    const V4_UDP: usize = V4 + UdpHdr::LEN;
    const V6_UDP: usize = V6 + UdpHdr::LEN;
    let Some(kind) = packet.at::<EthHdr>(0).map(|eth| u16::from_be(eth.ether_type)) else {
        return Outcome::Other;
    };
    let (outer, is_v4) = match kind {
        ETHERTYPE_IPV4 => (outer_v4(packet), true),
        ETHERTYPE_IPV6 => (outer_v6(packet), false),
        _ => return Outcome::Other,
    };
    let Some(outer) = outer else { return Outcome::Other };
    // Each distance is a constant in the kernel.
    match (outer.protocol, is_v4) {
        (IPV4 | IPV6, true) => open::<_, _, V4>(packet, gate, outer, Outcome::Ipip),
        (IPV4 | IPV6, false) => open::<_, _, V6>(packet, gate, outer, Outcome::Ipip),
        (protocol, true) if protocol == UDP as u8 && is_gue(packet, gate, V4, outer) => {
            open::<_, _, V4_UDP>(packet, gate, outer, Outcome::Gue)
        }
        (protocol, false) if protocol == UDP as u8 && is_gue(packet, gate, V6, outer) => {
            open::<_, _, V6_UDP>(packet, gate, outer, Outcome::Gue)
        }
        _ => Outcome::Other,
    }
}

/// `None`: not whole, with options, or shorter than it says. Those are the host's.
#[inline(always)]
fn outer_v4<P: Packet>(packet: &P) -> Option<Outer> {
    let ip = packet.at::<Ipv4Hdr>(L3)?;
    let total = u16::from_be_bytes(ip.tot_len) as usize;
    let is_whole = u16::from_be_bytes(ip.frags) & 0x3fff == 0;
    if ip.vihl != 0x45 || !is_whole || total < Ipv4Hdr::LEN || total > packet.length() - L3 {
        return None;
    }
    Some(Outer {
        src: Address::v4(ip.src_addr),
        dst: Address::v4(ip.dst_addr),
        protocol: ip.proto,
        ecn: ip.tos & CE,
        length: total - Ipv4Hdr::LEN,
    })
}

#[inline(always)]
fn outer_v6<P: Packet>(packet: &P) -> Option<Outer> {
    let ip = packet.at::<Ipv6Hdr>(L3)?;
    let length = u16::from_be_bytes(ip.payload_len) as usize;
    if ip.vcf[0] >> 4 != 6 || Ipv6Hdr::LEN + length > packet.length() - L3 {
        return None;
    }
    Some(Outer {
        src: Address::v6(ip.src_addr),
        dst: Address::v6(ip.dst_addr),
        protocol: ip.next_hdr,
        ecn: ip.vcf[1] >> 4 & CE,
        length,
    })
}

/// Whether a datagram is one of variant 1: an IP packet stands where variant 0 has its header, and
/// its version cannot be mistaken for that (draft-ietf-intarea-gue-09, 4).
#[inline(always)]
fn is_gue<P: Packet, G: LocalHost>(packet: &P, gate: &G, udp: usize, outer: Outer) -> bool {
    let Some(header) = packet.at::<UdpHdr>(udp) else { return false };
    let length = u16::from_be_bytes(header.len) as usize;
    header.dst == gate.gue_port() && length == outer.length && length >= UdpHdr::LEN
}

/// Takes all in front of the inner packet at `START` off.
#[inline(always)]
fn open<P: Packet, G: LocalHost, const START: usize>(
    packet: &mut P,
    gate: &G,
    outer: Outer,
    done: Outcome,
) -> Outcome {
    if !gate.is_local(&outer.dst) {
        return Outcome::Other;
    }
    if !gate.admits(&outer.src) {
        return Outcome::Unwelcome;
    }
    let between = if let Outcome::Gue = done { UdpHdr::LEN } else { 0 };
    let room = outer.length - between;
    let Some(&[first, class]) = packet.at::<[u8; 2]>(START) else { return Outcome::Malformed };
    let (dst, length, ecn, kind) = match first >> 4 {
        4 => {
            let Some(ip) = packet.at::<Ipv4Hdr>(START) else { return Outcome::Malformed };
            let length = u16::from_be_bytes(ip.tot_len) as usize;
            if first & 0xf < 5 || length < Ipv4Hdr::LEN {
                return Outcome::Malformed;
            }
            (Address::v4(ip.dst_addr), length, class & CE, ETHERTYPE_IPV4)
        }
        6 => {
            let Some(ip) = packet.at::<Ipv6Hdr>(START) else { return Outcome::Malformed };
            let length = Ipv6Hdr::LEN + u16::from_be_bytes(ip.payload_len) as usize;
            (Address::v6(ip.dst_addr), length, class >> 4 & CE, ETHERTYPE_IPV6)
        }
        _ => return Outcome::Malformed,
    };
    let announced = if kind == ETHERTYPE_IPV4 { IPV4 } else { IPV6 };
    let is_other = !matches!(done, Outcome::Gue) && outer.protocol != announced;
    if is_other || length > room {
        return Outcome::Malformed;
    }
    if !gate.is_local(&dst) {
        return Outcome::Astray;
    }
    if outer.ecn == CE {
        if ecn == 0 {
            return Outcome::Congested;
        }
        mark::<P, START>(packet, kind);
    }
    if bring_forward::<P, START>(packet, kind) { done } else { Outcome::Malformed }
}

/// Says inside that congestion was met outside.
#[inline(always)]
fn mark<P: Packet, const START: usize>(packet: &mut P, kind: u16) {
    if kind == ETHERTYPE_IPV4 {
        let Some(ip) = packet.at_mut::<Ipv4Hdr>(START) else { return };
        let new = ip.tos | CE;
        ip.check = Delta::NONE.word([ip.vihl, ip.tos], [ip.vihl, new]).apply(ip.check);
        ip.tos = new;
    } else if let Some(class) = packet.at_mut::<[u8; 2]>(START) {
        class[1] |= CE << 4;
    }
}

/// Moves the Ethernet header next to the packet at `START`. `false`: nothing has changed.
#[inline(always)]
fn bring_forward<P: Packet, const START: usize>(packet: &mut P, kind: u16) -> bool {
    let Some(&long) = packet.at::<[u8; 8]>(0) else { return false };
    let Some(&short) = packet.at::<[u8; 4]>(8) else { return false };
    if !packet.adjust_head((START - L3) as i32) {
        return false;
    }
    if let Some(place) = packet.at_mut::<[u8; 8]>(0) {
        *place = long;
    }
    if let Some(place) = packet.at_mut::<[u8; 4]>(8) {
        *place = short;
    }
    if let Some(place) = packet.at_mut::<[u8; 2]>(12) {
        *place = kind.to_be_bytes();
    }
    true
}
