//! The next hop.

/// Bit of [`Hop::vlan`], of [`Hop::inner_vlan`] and of [`VlanDevice`]'s ids.
pub const SERVICE_TAG: u16 = 0x8000;

/// Where a frame leaves: what `bpf_fib_lookup` answered.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hop {
    /// Destination and source MAC address as they stand in a frame, in a long and a short word.
    macs_long: u64,
    macs_short: u32,
    pub ifindex: u32,
    /// VLAN id to tag the frame with, native order; 0: untagged. With [`SERVICE_TAG`] the tag is
    /// 802.1ad's, without it 802.1Q's.
    pub vlan: u16,
    /// The same for a second tag behind that; 0: none.
    pub inner_vlan: u16,
    /// Bytes of the largest IP packet on that way; 0: not known.
    pub mtu: u32,
}

impl Hop {
    #[inline(always)]
    #[must_use]
    pub const fn new(dst_mac: [u8; 6], src_mac: [u8; 6], ifindex: u32, vlan: u16) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (dst_mac, src_mac);
        Self {
            macs_long: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            macs_short: u32::from_ne_bytes([i, j, k, l]),
            ifindex,
            vlan,
            inner_vlan: 0,
            mtu: 0,
        }
    }

    /// Back to where a frame came from, by its first twelve bytes as eight and four, and its
    /// tags.
    #[inline(always)]
    #[must_use]
    pub const fn back(long: [u8; 8], short: [u8; 4], ifindex: u32, tags: [u16; 2]) -> Self {
        let (long, short) = (u64::from_le_bytes(long), u32::from_le_bytes(short));
        let (dst, src) = (long & 0xffff_ffff_ffff, long >> 48 | (short as u64) << 16);
        Self {
            macs_long: (src | dst << 48).to_le(),
            macs_short: ((dst >> 16) as u32).to_le(),
            ifindex,
            vlan: tags[0],
            inner_vlan: tags[1],
            mtu: 0,
        }
    }

    /// The first twelve bytes of a frame that goes there, as eight and four.
    #[inline(always)]
    #[must_use]
    pub const fn macs(&self) -> ([u8; 8], [u8; 4]) {
        (self.macs_long.to_ne_bytes(), self.macs_short.to_ne_bytes())
    }
}

/// A [`Hop`] with the time of its lookup (ns of `CLOCK_MONOTONIC_COARSE`; 0: never).
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CachedHop {
    pub hop: Hop,
    pub at: u64,
}

const _: () = {
    assert!(size_of::<Hop>() == 24);
    assert!(size_of::<CachedHop>() == 32);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_swaps_the_addresses_of_a_frame() {
        let (dst, src) = ([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]);
        let (long, short) = Hop::new(dst, src, 0, 0).macs();
        assert_eq!((long, short), ([1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12]));
        assert_eq!(Hop::back(long, short, 3, [4, 0]), Hop::new(src, dst, 3, 4));
    }
}

/// A VLAN device as its parent, which is none itself, and its tags: see [`Hop::vlan`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VlanDevice {
    pub parent: u32,
    pub vlan: u16,
    pub inner_vlan: u16,
}

const _: () = assert!(size_of::<VlanDevice>() == 8);
