//! An address of either family.

use core::net::IpAddr;

/// IPv6 address, or IPv4 address in its mapped form `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).
///
/// Its bytes are in network order; they are kept in two words so that BPF, which copies byte arrays
/// byte by byte, moves, compares and hashes an address in two steps.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Address([u64; 2]);

/// `0, 0, 0xff, 0xff` in the first half of a word in memory.
const MAPPED: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);

impl Address {
    #[inline(always)]
    #[must_use]
    pub const fn v4(a: [u8; 4]) -> Self {
        let word = u32::from_ne_bytes(a) as u64;
        Self([0, MAPPED | if cfg!(target_endian = "little") { word << 32 } else { word }])
    }

    #[inline(always)]
    #[must_use]
    pub const fn v6(a: [u8; 16]) -> Self {
        let words = u128::from_ne_bytes(a);
        let (low, high) = (words as u64, (words >> 64) as u64);
        Self(if cfg!(target_endian = "little") { [low, high] } else { [high, low] })
    }

    /// The mapped form of either family.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }

    /// All sixteen bytes, in network order.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        let [first, second] = [self.0[0] as u128, self.0[1] as u128];
        let words = if cfg!(target_endian = "little") {
            second << 64 | first
        } else {
            first << 64 | second
        };
        words.to_ne_bytes()
    }

    /// The two halves as they lie in memory.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        self.0
    }

    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        let mask = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        self.0[0] == 0 && self.0[1] & mask == MAPPED
    }

    /// With other bits at its end: those of `bits` that `mask` has, in network order.
    #[inline(always)]
    #[must_use]
    pub const fn with_last(self, bits: u32, mask: u32) -> Self {
        let old = u32::from_be_bytes(self.low());
        let low = u32::from_ne_bytes((old & !mask | bits & mask).to_be_bytes()) as u64;
        let [first, second] = self.0;
        Self(if cfg!(target_endian = "little") {
            [first, second & 0xffff_ffff | low << 32]
        } else {
            [first, second & !0xffff_ffff | low]
        })
    }

    /// The network that it is in: all bits behind its family's prefix cleared.
    #[inline(always)]
    #[must_use]
    pub const fn masked(self, prefixes: Prefixes) -> Self {
        let length = if self.is_v4() { 96 + prefixes.v4 as u32 } else { prefixes.v6 as u32 };
        let rest = length.saturating_sub(64);
        Self([self.0[0] & leading(length), self.0[1] & leading(rest)])
    }

    /// The last four bytes: the whole address where the family is known to be IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn low(self) -> [u8; 4] {
        let word = self.0[1];
        ((if cfg!(target_endian = "little") { word >> 32 } else { word }) as u32).to_ne_bytes()
    }
}

/// A word as it lies in memory with so many bits set from its first byte on; 64 and more: all.
#[inline(always)]
const fn leading(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (!(u64::MAX >> bits)).to_be() }
}

/// Prefix lengths for the two families.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prefixes {
    pub v4: u8,
    pub v6: u8,
    pub pad: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_the_prefix_says() {
        let of = |text: &str| Address::of(text.parse().expect("an address"));
        let network = |text, v4, v6| of(text).masked(Prefixes { v4, v6, pad: 0 });
        assert_eq!(network("198.51.100.7", 32, 0), of("198.51.100.7"));
        assert_eq!(network("198.51.103.7", 22, 0), of("198.51.100.0"));
        assert_eq!(network("198.51.103.7", 0, 128), of("0.0.0.0"));
        assert_eq!(network("2001:db8:1:2:3:4:5:6", 0, 64), of("2001:db8:1:2::"));
        assert_eq!(network("2001:db8:1:2:3:4:5:6", 32, 72), of("2001:db8:1:2::"));
        assert_eq!(network("2001:db8:1:2:ff03:4:5:6", 0, 71), of("2001:db8:1:2:fe00::"));
        assert_eq!(network("2001:db8:1:2:3:4:5:6", 0, 128), of("2001:db8:1:2:3:4:5:6"));
        assert_eq!(network("2001:db8::1", 32, 0), of("::"));
    }
}
