//! 802.1Q and 802.1ad tags: taken off before parsing, so that every later offset is a constant, and
//! put back when the frame leaves. Untagged traffic pays one comparison.

use network_types::{eth::EthHdr, vlan::VlanHdr};

use super::packet::Packet;
use crate::abi::SERVICE_TAG;

const ETHERTYPE_8021Q: u16 = 0x8100;
const ETHERTYPE_8021AD: u16 = 0x88a8;
const MACS: usize = 12;

/// The tags of a frame as they stand on the wire: none, one, or two with the outer one first. One
/// word and no `Option`, whose unused payload would be a register that the kernel's verifier finds
/// unset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u64);

impl Tag {
    pub const NONE: Self = Self(0);

    /// As [`Hop`](crate::abi::Hop) names them; none for 0.
    #[inline(always)]
    #[must_use]
    pub const fn of([outer, inner]: [u16; 2]) -> Self {
        if outer == 0 { Self::NONE } else { Self(word(outer) | word(inner) << 32) }
    }

    /// As [`Hop`](crate::abi::Hop) names them: without priorities.
    #[inline(always)]
    #[must_use]
    pub const fn ids(self) -> [u16; 2] {
        [id(self.0 as u32), id((self.0 >> 32) as u32)]
    }

    #[inline(always)]
    const fn is_double(self) -> bool {
        self.0 >> 32 != 0
    }
}

/// A tag as it stands on the wire, in the lower half.
#[inline(always)]
const fn word(id: u16) -> u64 {
    if id == 0 {
        return 0;
    }
    let kind = if id & SERVICE_TAG == 0 { ETHERTYPE_8021Q } else { ETHERTYPE_8021AD };
    let [[a, b], [c, d]] = [kind.to_be_bytes(), (id & 0x0fff).to_be_bytes()];
    u32::from_le_bytes([a, b, c, d]) as u64
}

#[inline(always)]
const fn id(word: u32) -> u16 {
    let [a, b, c, d] = word.to_le_bytes();
    let service = u16::from_be_bytes([a, b]) == ETHERTYPE_8021AD;
    u16::from_be_bytes([c, d]) & 0x0fff | if service { SERVICE_TAG } else { 0 }
}

/// Takes up to two tags off. A third one stays, for `parse` to refuse.
#[inline(always)]
pub fn pop<P: Packet>(packet: &mut P) -> Tag {
    let Some(eth) = packet.at::<EthHdr>(0) else { return Tag::NONE };
    if !is_tag(u16::from_be(eth.ether_type)) {
        return Tag::NONE;
    }
    let Some(tags) = packet.at::<[u8; 2 * VlanHdr::LEN]>(MACS) else { return Tag::NONE };
    let tags = *tags;
    let double = is_tag(u16::from_be_bytes([tags[4], tags[5]]));
    let Some(macs) = read_macs(packet) else { return Tag::NONE };
    let length = if double { 2 * VlanHdr::LEN } else { VlanHdr::LEN };
    // Not below an Ethernet header: the kernel refuses that, and nothing has changed yet.
    if !packet.adjust_head(length as i32) {
        return Tag::NONE;
    }
    // The inner EtherType already stands behind the addresses.
    write_macs(packet, macs);
    let tags = u64::from_le_bytes(tags);
    Tag(if double { tags } else { tags & 0xffff_ffff })
}

/// Puts tags on, unless it is [`Tag::NONE`]. `false`: no room for them.
#[inline(always)]
#[must_use]
pub fn push<P: Packet>(packet: &mut P, tag: Tag) -> bool {
    if tag == Tag::NONE {
        return true;
    }
    let Some(macs) = read_macs(packet) else { return false };
    let length = if tag.is_double() { 2 * VlanHdr::LEN } else { VlanHdr::LEN };
    if !packet.adjust_head(-(length as i32)) {
        return false;
    }
    write_macs(packet, macs);
    // The old EtherType already stands behind the tags.
    if tag.is_double() {
        let Some(place) = packet.at_mut::<[u8; 2 * VlanHdr::LEN]>(MACS) else { return false };
        *place = tag.0.to_le_bytes();
    } else {
        let Some(place) = packet.at_mut::<[u8; VlanHdr::LEN]>(MACS) else { return false };
        *place = (tag.0 as u32).to_le_bytes();
    }
    true
}

/// Both addresses, as words: byte arrays would be copied byte by byte.
#[inline(always)]
fn read_macs<P: Packet>(packet: &P) -> Option<(u64, u32)> {
    let long = u64::from_ne_bytes(*packet.at::<[u8; 8]>(0)?);
    let short = u32::from_ne_bytes(*packet.at::<[u8; 4]>(8)?);
    Some((long, short))
}

#[inline(always)]
fn write_macs<P: Packet>(packet: &mut P, (long, short): (u64, u32)) {
    if let Some(place) = packet.at_mut::<[u8; 8]>(0) {
        *place = long.to_ne_bytes();
    }
    if let Some(place) = packet.at_mut::<[u8; 4]>(8) {
        *place = short.to_ne_bytes();
    }
}

#[inline(always)]
#[must_use]
pub const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_8021Q | ETHERTYPE_8021AD)
}
