//! Questions of hosts on a link for an announced address, by ARP or neighbour discovery. The host's
//! own stack answers them as its settings say, and always while an interface has the address: where
//! nobody is to be answered, they do not get that far.

use crate::{
    abi::{Address, address_flags},
    context::tables::Tables,
    wire::{
        packet::Packet,
        parse::{Family, L3},
    },
};

/// Of ARP for IPv4 (RFC 826) from the protocol's number on: that, the lengths of both addresses,
/// and that it is a request. The hardware may be called Ethernet or IEEE 802.
const IPV4_REQUEST: u64 = 0x0800_0604_0001;
/// Offset in it of what comes behind that number of the hardware, and of the address asked for.
const KIND: usize = L3 + 2;
const ARP_TARGET: usize = L3 + 24;

/// A neighbour solicitation (RFC 4861, 4.3).
pub(crate) const SOLICITATION: u8 = 135;
/// Offset in its header of the address asked for.
const ND_TARGET: usize = 8;

/// Whether an ARP packet asks for an address, and nobody is to answer.
#[inline(never)]
pub(crate) fn asked_in_vain<P: Packet, T: Tables>(packet: &P, tables: &T) -> bool {
    packet.anchor();
    let Some(&[a, b, c, d, e, f]) = packet.at::<[u8; 6]>(KIND) else { return false };
    let Some(target) = packet.at::<[u8; 4]>(ARP_TARGET) else { return false };
    let is_request = u64::from_be_bytes([0, 0, a, b, c, d, e, f]) == IPV4_REQUEST;
    is_request && is_silent(tables, &Address::v4(*target))
}

/// The same of a neighbour solicitation, which is as likely for a group as for the address itself.
#[inline(always)]
pub(crate) fn solicited_in_vain<P: Packet, T: Tables>(packet: &P, tables: &T) -> bool {
    let target = packet.at::<[u8; 16]>(Family::V6.l4() + ND_TARGET);
    target.is_some_and(|target| is_silent(tables, &Address::v6(*target)))
}

#[inline(always)]
fn is_silent<T: Tables>(tables: &T, target: &Address) -> bool {
    tables.address(target).is_some_and(|flags| flags & address_flags::SILENT != 0)
}
