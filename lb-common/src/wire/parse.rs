//! From a frame to a flow key, and the hash that places a flow on a ring.

use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
    vlan::VlanHdr,
};

use super::{packet::Packet, vlan};
use crate::{
    abi::{Address, FlowKey},
    context::verdict::Reason,
};

/// Where the IP header starts: VLAN tags are taken off before anything is parsed.
pub const L3: usize = EthHdr::LEN;

pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

pub const ICMP: u32 = 1;
pub const TCP: u32 = 6;
pub const UDP: u32 = 17;
pub const ICMPV6: u32 = 58;

/// IPv6 extension headers (RFC 7045) by what the one before says comes next.
pub mod extension {
    pub const HOP_BY_HOP: u32 = 0;
    pub const ROUTING: u32 = 43;
    pub const FRAGMENT: u32 = 44;
    pub const DESTINATION: u32 = 60;

    /// ESP and AH, which rewriting would break or which hide the ports; mobility, HIP, shim6, which
    /// come before no transport header.
    #[inline(always)]
    #[must_use]
    pub const fn is_refused(next: u32) -> bool {
        matches!(next, 50 | 51 | 135 | 139 | 140)
    }
}

/// Bits of the thirteenth byte of a TCP header (RFC 9293, 3.1).
pub mod tcp_flags {
    pub const FIN: u32 = 0x01;
    pub const SYN: u32 = 0x02;
    pub const RST: u32 = 0x04;
    pub const ACK: u32 = 0x10;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Where the transport header starts in a packet that nothing is unusual about.
    #[inline(always)]
    #[must_use]
    pub const fn l4(self) -> usize {
        match self {
            Self::V4 => L3 + Ipv4Hdr::LEN,
            Self::V6 => L3 + Ipv6Hdr::LEN,
        }
    }
}

/// What a packet's headers say beside its [`FlowKey`]. Apart from the key: that one is in memory,
/// for map lookups, and LLVM would keep what stands next to it there, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    pub family: Family,
    /// [`tcp_flags`] of a TCP segment, 0 otherwise.
    pub flags: u32,
    /// Where the transport header starts; 0: in another fragment.
    pub l4: u32,
}

impl Headers {
    #[inline(always)]
    #[must_use]
    pub const fn unread() -> Self {
        Self::plain(Family::V4, 0)
    }

    /// Of a packet that nothing is unusual about.
    #[inline(always)]
    #[must_use]
    pub const fn plain(family: Family, flags: u32) -> Self {
        Self { family, flags, l4: family.l4() as u32 }
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A TCP segment or UDP datagram.
    Segment,
    /// ICMP or ICMPv6.
    Message,
    /// With options, extension headers or in fragments: what it carries is still to be found out.
    Odd,
    /// Not IP, or too short to have a destination.
    Foreign,
}

/// Fills `key` and `flags` in if this is a segment that nothing is unusual about: a whole TCP
/// segment or UDP datagram behind a plain IP header. All else, right or wrong, is [`parse`]'s.
///
/// The packet's EtherType must say `family`.
#[inline(always)]
pub fn parse_plain<P: Packet>(
    packet: &P,
    family: Family,
    key: &mut FlowKey,
    flags: &mut u32,
) -> bool {
    let length = match family {
        Family::V4 => {
            let Some(ip) = packet.at::<Ipv4Hdr>(L3) else { return false };
            key.src = Address::v4(ip.src_addr);
            key.dst = Address::v4(ip.dst_addr);
            key.protocol = ip.proto as u32;
            if ip.vihl != 0x45 || u16::from_be_bytes(ip.frags) & 0x3fff != 0 {
                return false;
            }
            (u16::from_be_bytes(ip.tot_len) as usize).wrapping_sub(Ipv4Hdr::LEN)
        }
        Family::V6 => {
            let Some(ip) = packet.at::<Ipv6Hdr>(L3) else { return false };
            key.src = Address::v6(ip.src_addr);
            key.dst = Address::v6(ip.dst_addr);
            key.protocol = ip.next_hdr as u32;
            if ip.vcf[0] >> 4 != 6 {
                return false;
            }
            u16::from_be_bytes(ip.payload_len) as usize
        }
    };
    let Some(head) = packet.at::<UdpHdr>(family.l4()) else { return false };
    key.src_port = head.src;
    key.dst_port = head.dst;
    if length > packet.length().wrapping_sub(family.l4()) {
        return false;
    }
    if key.protocol == TCP {
        let Some(bytes) = packet.at::<[u8; 8]>(family.l4() + 12) else { return false };
        *flags = bytes[1] as u32;
        let header = ((bytes[0] >> 4) as usize) * 4;
        header >= 20 && header <= length
    } else {
        let datagram = u16::from_be_bytes(head.len) as usize;
        let bare = matches!(family, Family::V6) && head.check == [0, 0];
        key.protocol == UDP && datagram >= UdpHdr::LEN && datagram <= length && !bare
    }
}

/// Fills `key` and `headers` in: the addresses as soon as there is an IP header, ports where there
/// are any. An error is why we do not steer the packet: it is dropped if its destination
/// is ours.
#[inline(always)]
pub fn parse<P: Packet>(
    packet: &P,
    key: &mut FlowKey,
    headers: &mut Headers,
) -> Result<Kind, Reason> {
    let Some(eth) = packet.at::<EthHdr>(0) else { return Ok(Kind::Foreign) };
    match u16::from_be(eth.ether_type) {
        ETHERTYPE_IPV4 => parse_v4(packet, key, headers),
        ETHERTYPE_IPV6 => parse_v6(packet, key, headers),
        tag if vlan::is_tag(tag) => parse_nested(packet, key),
        _ => Ok(Kind::Foreign),
    }
}

#[inline(always)]
fn parse_v4<P: Packet>(
    packet: &P,
    key: &mut FlowKey,
    headers: &mut Headers,
) -> Result<Kind, Reason> {
    let Some(ip) = packet.at::<Ipv4Hdr>(L3) else { return Ok(Kind::Foreign) };
    headers.family = Family::V4;
    key.src = Address::v4(ip.src_addr);
    key.dst = Address::v4(ip.dst_addr);
    key.protocol = ip.proto as u32;
    let total = u16::from_be_bytes(ip.tot_len) as usize;
    let header = (ip.vihl & 0xf) as usize * 4;
    if ip.vihl >> 4 != 4 || header < Ipv4Hdr::LEN || total < header {
        return Err(Reason::BadIpHeader);
    }
    if L3 + total > packet.length() {
        return Err(Reason::Truncated);
    }
    // More fragments, or an offset; the bit above them is "don't fragment".
    if header > Ipv4Hdr::LEN || u16::from_be_bytes(ip.frags) & 0x3fff != 0 {
        return Ok(Kind::Odd);
    }
    match ip.proto as u32 {
        TCP | UDP => parse_transport(packet, Family::V4, key, headers, total - Ipv4Hdr::LEN),
        ICMP => Ok(Kind::Message),
        _ => Err(Reason::UnsupportedProtocol),
    }
}

#[inline(always)]
fn parse_v6<P: Packet>(
    packet: &P,
    key: &mut FlowKey,
    headers: &mut Headers,
) -> Result<Kind, Reason> {
    let Some(ip) = packet.at::<Ipv6Hdr>(L3) else { return Ok(Kind::Foreign) };
    headers.family = Family::V6;
    key.src = Address::v6(ip.src_addr);
    key.dst = Address::v6(ip.dst_addr);
    key.protocol = ip.next_hdr as u32;
    let payload = u16::from_be_bytes(ip.payload_len) as usize;
    if ip.vcf[0] >> 4 != 6 {
        return Err(Reason::BadIpHeader);
    }
    if L3 + Ipv6Hdr::LEN + payload > packet.length() {
        return Err(Reason::Truncated);
    }
    match ip.next_hdr as u32 {
        TCP | UDP => parse_transport(packet, Family::V6, key, headers, payload),
        ICMPV6 => Ok(Kind::Message),
        extension::HOP_BY_HOP
        | extension::ROUTING
        | extension::FRAGMENT
        | extension::DESTINATION => Ok(Kind::Odd),
        other if extension::is_refused(other) => Err(Reason::ExtensionHeader),
        _ => Err(Reason::UnsupportedProtocol),
    }
}

/// `length`: bytes of the transport header and its payload, as the IP header says.
#[inline(always)]
fn parse_transport<P: Packet>(
    packet: &P,
    family: Family,
    key: &mut FlowKey,
    headers: &mut Headers,
    length: usize,
) -> Result<Kind, Reason> {
    let head = packet.at::<UdpHdr>(family.l4()).ok_or(Reason::Truncated)?;
    key.src_port = head.src;
    key.dst_port = head.dst;
    if key.protocol == TCP {
        // Data offset and flags, twelve bytes in.
        let bytes = packet.at::<[u8; 8]>(family.l4() + 12).ok_or(Reason::Truncated)?;
        let header = ((bytes[0] >> 4) as usize) * 4;
        if header < 20 || header > length {
            return Err(Reason::BadTransportHeader);
        }
        headers.flags = bytes[1] as u32;
    } else {
        let datagram = u16::from_be_bytes(head.len) as usize;
        // IPv6 has no UDP without a checksum outside of tunnels (RFC 8200, 8.1).
        let bare = family == Family::V6 && head.check == [0, 0];
        if datagram < UdpHdr::LEN || datagram > length || bare {
            return Err(Reason::BadTransportHeader);
        }
    }
    Ok(Kind::Segment)
}

/// The sequence number of a TCP segment whose header begins at `l4`, network order.
#[inline(always)]
pub(crate) fn sequence<P: Packet>(packet: &P, l4: u32) -> Result<[u8; 4], Reason> {
    /// Offset in a TCP header.
    const SEQUENCE: u32 = 4;
    Ok(*packet.at_far::<[u8; 4]>(l4 + SEQUENCE).ok_or(Reason::Truncated)?)
}

/// Where in the frame the packet ends, as its IP header says.
#[inline(always)]
pub(crate) fn end<P: Packet>(packet: &P, family: Family) -> Option<u32> {
    let length = match family {
        Family::V4 => u16::from_be_bytes(packet.at::<Ipv4Hdr>(L3)?.tot_len) as usize,
        Family::V6 => {
            Ipv6Hdr::LEN + u16::from_be_bytes(packet.at::<Ipv6Hdr>(L3)?.payload_len) as usize
        }
    };
    Some((L3 + length) as u32)
}

/// A tag below those that were taken off: all that matters is whether the packet is for us.
#[inline(always)]
fn parse_nested<P: Packet>(packet: &P, key: &mut FlowKey) -> Result<Kind, Reason> {
    const L3: usize = EthHdr::LEN + VlanHdr::LEN;
    let Some(tag) = packet.at::<VlanHdr>(EthHdr::LEN) else { return Ok(Kind::Foreign) };
    key.dst = match u16::from_be(tag.ether_type) {
        ETHERTYPE_IPV4 => match packet.at::<Ipv4Hdr>(L3) {
            Some(ip) => Address::v4(ip.dst_addr),
            None => return Ok(Kind::Foreign),
        },
        ETHERTYPE_IPV6 => match packet.at::<Ipv6Hdr>(L3) {
            Some(ip) => Address::v6(ip.dst_addr),
            None => return Ok(Kind::Foreign),
        },
        _ => return Ok(Kind::Foreign),
    };
    Err(Reason::NestedVlan)
}

impl FlowKey {
    /// Before anything was read: of no address that anybody has (RFC 6666) and no protocol.
    ///
    /// Not all zero: LLVM would clear it by calling `memset`, which in BPF goes byte by byte and
    /// costs more than all else that happens to a packet of a known flow.
    #[inline(always)]
    #[must_use]
    pub const fn unread() -> Self {
        const DISCARD: Address = Address::v6([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        Self { src: DISCARD, dst: DISCARD, src_port: [0; 2], dst_port: [0; 2], protocol: 255 }
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
        for word in [self.src.words(), self.dst.words()].into_iter().flatten() {
            h = mix(h) ^ u64::from_le(word);
        }
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

/// The slot of a ring of `length` that `hash` falls on (Lemire's multiply-shift, no division).
#[inline(always)]
#[must_use]
pub const fn slot(hash: u32, length: u32) -> u32 {
    ((hash as u64 * length as u64) >> 32) as u32
}
