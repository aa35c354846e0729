//! 802.1Q tags: taken off before parsing, so that every later offset is a constant, and put back
//! when the frame leaves. Untagged traffic pays one comparison.

use network_types::{eth::EthHdr, vlan::VlanHdr};

use crate::{abi::Address, flow, packet::Packet};

const ETHERTYPE_8021Q: u16 = 0x8100;
const ETHERTYPE_8021AD: u16 = 0x88a8;
const MACS: usize = 12;

/// A tag as it stood on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    ethertype: u16,
    tci: [u8; 2],
}

impl Tag {
    #[inline(always)]
    #[must_use]
    pub const fn vlan(id: u16) -> Self {
        Self {
            ethertype: ETHERTYPE_8021Q.to_be(),
            tci: id.to_be_bytes(),
        }
    }

    #[inline(always)]
    #[must_use]
    pub const fn id(self) -> u16 {
        u16::from_be_bytes(self.tci) & 0x0fff
    }
}

/// What stood before the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popped {
    Untagged,
    Tagged(Tag),
    /// Two tags or more: left as it was. The destination, if it is an IP packet below two.
    Nested(Option<Address>),
}

#[inline(always)]
pub fn pop<P: Packet>(packet: &mut P) -> Popped {
    let Some(eth) = packet.at::<EthHdr>(0) else {
        return Popped::Untagged;
    };
    let ethertype = eth.ether_type;
    if !is_tag(ethertype) {
        return Popped::Untagged;
    }
    let Some(vlan) = packet.at::<VlanHdr>(EthHdr::LEN) else {
        return Popped::Untagged;
    };
    let (tag, inner) = (
        Tag {
            ethertype,
            tci: vlan.tci,
        },
        vlan.ether_type,
    );
    if is_tag(inner) {
        return Popped::Nested(below_two_tags(packet));
    }
    let Some(macs) = packet.at::<[u8; MACS]>(0).copied() else {
        return Popped::Untagged;
    };
    if !packet.adjust_head(VlanHdr::LEN as i32) {
        return Popped::Untagged;
    }
    // The inner EtherType already stands behind the addresses.
    if let Some(place) = packet.at_mut::<[u8; MACS]>(0) {
        *place = macs;
    }
    Popped::Tagged(tag)
}

/// `false`: no room for it.
#[inline(always)]
#[must_use]
pub fn push<P: Packet>(packet: &mut P, tag: Tag) -> bool {
    let Some(macs) = packet.at::<[u8; MACS]>(0).copied() else {
        return false;
    };
    if !packet.adjust_head(-(VlanHdr::LEN as i32)) {
        return false;
    }
    let Some(place) = packet.at_mut::<[u8; MACS + VlanHdr::LEN]>(0) else {
        return false;
    };
    place[..MACS].copy_from_slice(&macs);
    place[MACS..MACS + 2].copy_from_slice(&tag.ethertype.to_ne_bytes());
    place[MACS + 2..].copy_from_slice(&tag.tci);
    true
}

#[inline(always)]
fn below_two_tags<P: Packet>(packet: &P) -> Option<Address> {
    let second = packet.at::<VlanHdr>(EthHdr::LEN + VlanHdr::LEN)?;
    flow::destination(
        packet,
        u16::from_be(second.ether_type),
        EthHdr::LEN + 2 * VlanHdr::LEN,
    )
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_8021Q.to_be() || ethertype == ETHERTYPE_8021AD.to_be()
}
