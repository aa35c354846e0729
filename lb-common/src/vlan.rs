//! 802.1Q tags: taken off before parsing, so that every later offset is a constant, and put back
//! when the frame leaves. Untagged traffic pays one comparison.

use network_types::{eth::EthHdr, vlan::VlanHdr};

use crate::packet::Packet;

const ETHERTYPE_8021Q: u16 = 0x8100;
const ETHERTYPE_8021AD: u16 = 0x88a8;
const MACS: usize = 12;

/// A tag as it stands on the wire, or none. One word and no `Option`, whose unused payload would
/// be a register that the kernel's verifier finds unset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u32);

impl Tag {
    pub const NONE: Self = Self(0);

    /// The 802.1Q tag of a VLAN id; none for 0.
    #[inline(always)]
    #[must_use]
    pub const fn vlan(id: u16) -> Self {
        if id == 0 {
            return Self::NONE;
        }
        let [[a, b], [c, d]] = [ETHERTYPE_8021Q.to_be_bytes(), id.to_be_bytes()];
        Self(u32::from_ne_bytes([a, b, c, d]))
    }

    #[inline(always)]
    #[must_use]
    pub const fn id(self) -> u16 {
        let [_, _, c, d] = self.0.to_ne_bytes();
        u16::from_be_bytes([c, d]) & 0x0fff
    }
}

/// Takes the outermost tag off. An inner one stays, for `parse` to refuse.
#[inline(always)]
pub fn pop<P: Packet>(packet: &mut P) -> Tag {
    let Some(eth) = packet.at::<EthHdr>(0) else { return Tag::NONE };
    if !is_tag(u16::from_be(eth.ether_type)) {
        return Tag::NONE;
    }
    let Some(tag) = packet.at::<[u8; VlanHdr::LEN]>(MACS) else { return Tag::NONE };
    let tag = Tag(u32::from_ne_bytes(*tag));
    let Some(macs) = read_macs(packet) else { return Tag::NONE };
    // Not below an Ethernet header: the kernel refuses that, and nothing has changed yet.
    if !packet.adjust_head(VlanHdr::LEN as i32) {
        return Tag::NONE;
    }
    // The inner EtherType already stands behind the addresses.
    write_macs(packet, macs);
    tag
}

/// Puts a tag on, unless it is [`Tag::NONE`]. `false`: no room for it.
#[inline(always)]
#[must_use]
pub fn push<P: Packet>(packet: &mut P, tag: Tag) -> bool {
    if tag == Tag::NONE {
        return true;
    }
    let Some(macs) = read_macs(packet) else { return false };
    if !packet.adjust_head(-(VlanHdr::LEN as i32)) {
        return false;
    }
    write_macs(packet, macs);
    // The old EtherType already stands behind the tag.
    let Some(place) = packet.at_mut::<[u8; VlanHdr::LEN]>(MACS) else { return false };
    *place = tag.0.to_ne_bytes();
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
