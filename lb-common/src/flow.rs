//! From a frame to a flow key, and the hash that places a flow on a ring.

use network_types::{
    eth::EthHdr,
    icmp::Icmpv4Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

use crate::{
    abi::{Address, FlowKey, VipKey},
    packet::Packet,
    verdict::Reason,
};

/// Where the IP header starts: VLAN tags are taken off before anything is parsed.
pub const L3: usize = EthHdr::LEN;

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

/// Bits of the thirteenth byte of a TCP header (RFC 9293, 3.1).
pub mod tcp_flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Where the transport header starts. Options and extension headers are refused before.
    #[inline(always)]
    #[must_use]
    pub const fn l4(self) -> usize {
        match self {
            Self::V4 => L3 + Ipv4Hdr::LEN,
            Self::V6 => L3 + Ipv6Hdr::LEN,
        }
    }
}

/// A TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub family: Family,
    pub key: FlowKey,
    /// [`tcp_flags`]; 0 for UDP.
    pub flags: u8,
}

/// An IP packet that carries ICMP or ICMPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub family: Family,
    pub dst: Address,
    /// The ICMP type.
    pub kind: u8,
}

/// What a frame is, as far as its headers can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    Segment(Segment),
    Message(Message),
    /// IP that we do not steer, and why. Dropped if `dst` is ours.
    Odd {
        dst: Address,
        reason: Reason,
    },
    /// Not IP, or too short to have a destination.
    Foreign,
}

#[inline(always)]
pub fn parse<P: Packet>(packet: &P) -> Parsed {
    let Some(eth) = packet.at::<EthHdr>(0) else {
        return Parsed::Foreign;
    };
    match u16::from_be(eth.ether_type) {
        ETHERTYPE_IPV4 => parse_v4(packet),
        ETHERTYPE_IPV6 => parse_v6(packet),
        _ => Parsed::Foreign,
    }
}

#[inline(always)]
fn parse_v4<P: Packet>(packet: &P) -> Parsed {
    let Some(ip) = packet.at::<Ipv4Hdr>(L3) else {
        return Parsed::Foreign;
    };
    let dst = Address::v4(ip.dst_addr);
    let odd = |reason| Parsed::Odd { dst, reason };
    let total = u16::from_be_bytes(ip.tot_len) as usize;
    if ip.vihl != 0x45 {
        let options = ip.vihl >> 4 == 4 && ip.vihl & 0xf > 5;
        return odd(if options {
            Reason::IpOptions
        } else {
            Reason::BadIpHeader
        });
    }
    if total < Ipv4Hdr::LEN {
        return odd(Reason::BadIpHeader);
    }
    if L3 + total > packet.length() {
        return odd(Reason::Truncated);
    }
    // More fragments, or an offset; the bit above them is "don't fragment".
    if u16::from_be_bytes(ip.frags) & 0x3fff != 0 {
        return odd(Reason::Fragment);
    }
    let (src, protocol) = (Address::v4(ip.src_addr), ip.proto);
    match protocol {
        TCP | UDP => parse_transport(packet, Family::V4, src, dst, protocol, total - Ipv4Hdr::LEN),
        ICMP => parse_message(packet, Family::V4, dst),
        _ => odd(Reason::UnsupportedProtocol),
    }
}

#[inline(always)]
fn parse_v6<P: Packet>(packet: &P) -> Parsed {
    let Some(ip) = packet.at::<Ipv6Hdr>(L3) else {
        return Parsed::Foreign;
    };
    let (src, dst) = (Address(ip.src_addr), Address(ip.dst_addr));
    let odd = |reason| Parsed::Odd { dst, reason };
    let payload = u16::from_be_bytes(ip.payload_len) as usize;
    let next = ip.next_hdr;
    if ip.vcf[0] >> 4 != 6 {
        return odd(Reason::BadIpHeader);
    }
    if L3 + Ipv6Hdr::LEN + payload > packet.length() {
        return odd(Reason::Truncated);
    }
    match next {
        TCP | UDP => parse_transport(packet, Family::V6, src, dst, next, payload),
        ICMPV6 => parse_message(packet, Family::V6, dst),
        44 => odd(Reason::Fragment),
        // RFC 7045: hop-by-hop, routing, ESP, AH, destination options, mobility, HIP, shim6.
        0 | 43 | 50 | 51 | 60 | 135 | 139 | 140 => odd(Reason::ExtensionHeader),
        _ => odd(Reason::UnsupportedProtocol),
    }
}

/// `length`: bytes of the transport header and its payload, as the IP header says.
#[inline(always)]
fn parse_transport<P: Packet>(
    packet: &P,
    family: Family,
    src: Address,
    dst: Address,
    protocol: u8,
    length: usize,
) -> Parsed {
    let odd = |reason| Parsed::Odd { dst, reason };
    let Some(head) = packet.at::<UdpHdr>(family.l4()) else {
        return odd(Reason::Truncated);
    };
    let (src_port, dst_port) = (head.src, head.dst);
    let key = FlowKey {
        src,
        dst,
        src_port,
        dst_port,
        protocol,
        pad: [0; 3],
    };
    let flags = if protocol == TCP {
        // Data offset and flags, twelve bytes in.
        let Some(bytes) = packet.at::<[u8; 8]>(family.l4() + 12) else {
            return odd(Reason::Truncated);
        };
        let header = ((bytes[0] >> 4) as usize) * 4;
        if header < 20 || header > length {
            return odd(Reason::BadTransportHeader);
        }
        bytes[1]
    } else {
        let datagram = u16::from_be_bytes(head.len) as usize;
        // IPv6 has no UDP without a checksum outside of tunnels (RFC 8200, 8.1).
        let bare = family == Family::V6 && head.check == [0, 0];
        if datagram < UdpHdr::LEN || datagram > length || bare {
            return odd(Reason::BadTransportHeader);
        }
        0
    };
    Parsed::Segment(Segment { family, key, flags })
}

#[inline(always)]
fn parse_message<P: Packet>(packet: &P, family: Family, dst: Address) -> Parsed {
    match packet.at::<Icmpv4Hdr>(family.l4()) {
        Some(icmp) => Parsed::Message(Message {
            family,
            dst,
            kind: icmp.type_,
        }),
        None => Parsed::Odd {
            dst,
            reason: Reason::Truncated,
        },
    }
}

/// The destination of an IP packet that starts at `offset`.
#[inline(always)]
pub fn destination<P: Packet>(packet: &P, ethertype: u16, offset: usize) -> Option<Address> {
    match ethertype {
        ETHERTYPE_IPV4 => packet
            .at::<Ipv4Hdr>(offset)
            .map(|ip| Address::v4(ip.dst_addr)),
        ETHERTYPE_IPV6 => packet.at::<Ipv6Hdr>(offset).map(|ip| Address(ip.dst_addr)),
        _ => None,
    }
}

impl FlowKey {
    /// What this packet addresses.
    #[inline(always)]
    #[must_use]
    pub const fn vip(&self) -> VipKey {
        VipKey {
            address: self.dst,
            port: self.dst_port,
            protocol: self.protocol,
            pad: [0; 5],
        }
    }

    /// The same on every node and in every version: nodes that share an address by ECMP must
    /// agree on it, and a restart must not move flows.
    #[inline(always)]
    #[must_use]
    pub fn hash(&self) -> u32 {
        let ports = u32::from_le_bytes([
            self.src_port[0],
            self.src_port[1],
            self.dst_port[0],
            self.dst_port[1],
        ]);
        let mut h = SEED ^ ((self.protocol as u64) << 32 | ports as u64);
        h = mix(h) ^ low(&self.src);
        h = mix(h) ^ high(&self.src);
        h = mix(h) ^ low(&self.dst);
        h = mix(h) ^ high(&self.dst);
        (mix(h) >> 32) as u32
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// A round of MurmurHash3's 64-bit finaliser.
#[inline(always)]
const fn mix(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[inline(always)]
const fn high(address: &Address) -> u64 {
    let a = &address.0;
    u64::from_le_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]])
}

#[inline(always)]
const fn low(address: &Address) -> u64 {
    let a = &address.0;
    u64::from_le_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]])
}

/// The slot of a ring of `length` that `hash` falls on (Lemire's multiply-shift, no division).
#[inline(always)]
#[must_use]
pub const fn slot(hash: u32, length: u32) -> u32 {
    ((hash as u64 * length as u64) >> 32) as u32
}
