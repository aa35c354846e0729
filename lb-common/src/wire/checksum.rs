//! Internet checksums by difference (RFC 1624), never by summing a packet on its usual way.
//!
//! One's complement sums do not depend on byte order (RFC 1071, 2.B), so every word is taken as it
//! lies in memory and no byte is swapped.

use crate::abi::Address;

/// A one's complement sum of differences, to be folded into a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Delta(u16);

impl Delta {
    pub const NONE: Self = Self(0);
    /// One less in the TTL field of an IPv4 header: the word of TTL and protocol loses `[1, 0]`.
    pub const TTL: Self = Self(!u16::from_ne_bytes([1, 0]));

    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Of a sum of 32-bit words, with its carries in the upper half.
    #[inline(always)]
    #[must_use]
    pub const fn of_sum(sum: u64) -> Self {
        Self(fold64(sum))
    }

    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// This and the difference of one 16-bit word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: [u8; 2], new: [u8; 2]) -> Self {
        let sum = self.0 as u32 + !u16::from_ne_bytes(old) as u32 + u16::from_ne_bytes(new) as u32;
        Self(fold(sum))
    }

    /// This and the difference of an address.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, old: Address, new: Address) -> Self {
        Self(fold64(self.0 as u64 + !fold64(sum(old)) as u64 + sum(new)))
    }

    /// The difference of both addresses at once.
    #[inline(always)]
    #[must_use]
    pub const fn of_addresses(old: [Address; 2], new: [Address; 2]) -> Self {
        let old = fold64(sum(old[0]) + sum(old[1]));
        Self(fold64(!old as u64 + sum(new[0]) + sum(new[1])))
    }

    /// This and a word that was not there before.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, word: [u8; 2]) -> Self {
        Self(fold(self.0 as u32 + u16::from_ne_bytes(word) as u32))
    }

    /// This and an address that was not there before.
    #[inline(always)]
    #[must_use]
    pub const fn plus_address(self, address: Address) -> Self {
        Self(fold64(self.0 as u64 + sum(address)))
    }

    /// This without an address that is in it.
    #[inline(always)]
    #[must_use]
    pub const fn minus_address(self, address: Address) -> Self {
        Self(fold(self.0 as u32 + !fold64(sum(address)) as u32))
    }

    /// The checksum of what was summed up.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> [u8; 2] {
        (!self.0).to_ne_bytes()
    }

    /// As [`checksum`](Self::checksum), for UDP, where zero means that there is none.
    #[inline(always)]
    #[must_use]
    pub const fn checksum_udp(self) -> [u8; 2] {
        match self.checksum() {
            [0, 0] => [0xff, 0xff],
            sum => sum,
        }
    }

    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(fold(self.0 as u32 + other.0 as u32))
    }

    /// The difference of the way back.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self(!self.0)
    }

    /// The checksum after the change (RFC 1624, equation 3).
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, check: [u8; 2]) -> [u8; 2] {
        let sum = !u16::from_ne_bytes(check) as u32 + self.0 as u32;
        (!fold(sum)).to_ne_bytes()
    }

    /// As [`apply`](Self::apply), where all else under the checksum may be zero: in ICMPv4 alone,
    /// which has no pseudo header. Such a sum is +0, which only all ones make right; where it is
    /// -0, they do as well (RFC 1624, 3).
    #[inline(always)]
    #[must_use]
    pub const fn apply_bare(self, check: [u8; 2]) -> [u8; 2] {
        match self.apply(check) {
            [0, 0] => [0xff, 0xff],
            sum => sum,
        }
    }

    /// As [`apply`](Self::apply), for UDP: zero means "no checksum" and stands for it alone, so a
    /// sum of zero is sent as all ones (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, check: [u8; 2]) -> [u8; 2] {
        if check[0] == 0 && check[1] == 0 {
            return check;
        }
        self.apply_bare(check)
    }
}

/// A one's complement sum, for a checksum from scratch: of headers of our own making only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    pub const NONE: Self = Self(0);

    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: [u8; 2]) -> Self {
        Self(self.0 + u16::from_ne_bytes(word) as u64)
    }

    /// As part of a pseudo header; the mapped form's `ffff` adds nothing.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, address: Address) -> Self {
        Self(self.0 + sum(address))
    }

    /// A header, of an even number of bytes.
    #[inline(always)]
    #[must_use]
    pub const fn bytes<const N: usize>(self, bytes: &[u8; N]) -> Self {
        const { assert!(N.is_multiple_of(2)) };
        let (mut sum, mut place) = (self, 0);
        while place < N {
            sum = sum.word([bytes[place], bytes[place + 1]]);
            place += 2;
        }
        sum
    }

    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> [u8; 2] {
        (!fold64(self.0)).to_ne_bytes()
    }
}

/// The 32-bit words of an address, added up without losing a carry.
#[inline(always)]
const fn sum(address: Address) -> u64 {
    let [a, b] = address.words();
    (a & 0xffff_ffff) + (a >> 32) + (b & 0xffff_ffff) + (b >> 32)
}

#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[inline(always)]
const fn fold64(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    fold(sum as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksum(bytes: &[u8]) -> [u8; 2] {
        let sum: u32 = bytes.chunks(2).map(|w| u16::from_be_bytes([w[0], w[1]]) as u32).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
    }

    /// RFC 1624, section 4: the example that equation 2 gets wrong.
    #[test]
    fn the_example_of_rfc_1624() {
        let delta = Delta::NONE.word([0x55, 0x55], [0x32, 0x85]);
        assert_eq!(delta.apply([0xdd, 0x2f]), [0x00, 0x00]);
    }

    #[test]
    fn udp_never_sends_a_zero_that_means_something() {
        let delta = Delta::NONE.word([0x55, 0x55], [0x32, 0x85]);
        assert_eq!(delta.apply_udp([0xdd, 0x2f]), [0xff, 0xff]);
        assert_eq!(delta.apply_udp([0, 0]), [0, 0]);
    }

    /// lwIP and gVisor had it wrong (tabascoeye/lwip#17, google/gvisor#605).
    #[test]
    fn what_is_nothing_but_zeros_has_a_checksum_of_all_ones() {
        let reply = Delta::NONE.word([8, 0], [0, 0]);
        assert_eq!(reply.apply_bare([0xf7, 0xff]), checksum(&[0; 8]));
        assert_eq!(checksum(&[0; 8]), [0xff, 0xff]);
        let rest = [0, 0, 0, 0, 0x12, 0x34, 0x0a, 0xbc];
        let asked = checksum(&[&[8, 0], &rest[2..]].concat());
        assert_eq!(reply.apply_bare(asked), checksum(&rest));
    }

    #[test]
    fn a_sum_from_scratch() {
        let bytes = *b"\x45\0\0\x28\0\0\x40\0\x40\x06\0\0\xcb\0\x71\x0a\xc6\x33\x64\x07";
        assert_eq!(Sum::NONE.bytes(&bytes).checksum(), checksum(&bytes));
        let [vip, client] = [[203, 0, 113, 10], [198, 51, 100, 7]].map(Address::v4);
        let halves = Sum::NONE.bytes(b"\x45\0\0\x28\0\0\x40\0\x40\x06\0\0");
        assert_eq!(halves.address(vip).address(client).checksum(), checksum(&bytes));
    }

    proptest::proptest! {
        #[test]
        fn a_difference_equals_a_new_sum(old: [u8; 16], new: [u8; 16], rest: [u8; 16]) {
            let before: Vec<u8> = [old, rest].concat();
            let after: Vec<u8> = [new, rest].concat();
            let delta = Delta::NONE.address(Address::v6(old), Address::v6(new));
            // All-zero sums have two representations; real headers are never all zero.
            proptest::prop_assume!(rest.iter().any(|b| *b != 0));
            proptest::prop_assert_eq!(delta.apply(checksum(&before)), checksum(&after));
            proptest::prop_assert_eq!(delta.reversed().apply(checksum(&after)), checksum(&before));
        }

        #[test]
        fn ttl_is_one_less(ttl in 1u8.., protocol: u8, rest: [u8; 10]) {
            let before = [&[ttl, protocol][..], &rest].concat();
            let after = [&[ttl - 1, protocol][..], &rest].concat();
            proptest::prop_assume!(after.iter().any(|b| *b != 0));
            proptest::prop_assert_eq!(Delta::TTL.apply(checksum(&before)), checksum(&after));
        }
    }
}
