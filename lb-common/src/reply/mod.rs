//! Frames turned into answers to their senders.

pub(crate) mod challenge;
pub(crate) mod rate;
pub(crate) mod reset;
pub(crate) mod segment;
pub mod syn_cookie;
pub(crate) mod too_big;

use network_types::eth::EthHdr;

use crate::{abi::Address, wire::packet::Packet};

/// Whether the packet at hand was sent to us alone, by one host: nothing else is answered (RFC
/// 1122, 3.2.1.3 and 3.2.2; RFC 4443, 2.4 (e)). Most frames to a group are for others, too, and
/// each of them would answer.
#[inline(always)]
pub(crate) fn may_be_answered<P: Packet>(packet: &P, sender: Address) -> bool {
    let Some(eth) = packet.at::<EthHdr>(0) else { return false };
    eth.dst_addr[0] & 1 == 0 && is_host(sender)
}

/// Whether the address may be one of a single host other than this one.
const fn is_host(address: Address) -> bool {
    if address.is_v4() {
        return matches!(address.low()[0], 1..=126 | 128..=223);
    }
    let [upper, lower] = address.words();
    let is_special = upper == 0 && u64::from_be(lower) <= 1;
    !is_special && address.bytes()[0] != 0xff
}
