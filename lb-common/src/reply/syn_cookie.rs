//! A number that only who receives our answers can know.

use crate::abi::FlowKey;

/// ns in a period of cookies, as a shift: 69 s. A cookie is good for the rest of its period and for
/// the next one.
const PERIOD: u32 = 36;

/// What a challenge at `now` (ns) to the sender of `key` says: the cookie in the lower half, in the
/// upper one a sequence number that nobody can guess either.
#[inline(always)]
#[must_use]
pub fn bake(key: &FlowKey, now: u64, seed: [u64; 2]) -> u64 {
    hash(key, now >> PERIOD, seed)
}

/// Whether the sender of `key` was told `cookie` in this period or in the one before.
#[inline(always)]
#[must_use]
pub fn is_good(cookie: u32, key: &FlowKey, now: u64, seed: [u64; 2]) -> bool {
    let period = now >> PERIOD;
    hash(key, period, seed) as u32 == cookie
        || hash(key, period.wrapping_sub(1), seed) as u32 == cookie
}

/// SipHash-2-4 (Aumasson, Bernstein, "SipHash: a fast short-input PRF", 2012) over both addresses,
/// both ports and the period. Unlike the flow table's hash its values are seen outside, and must
/// tell nothing of the seed.
#[inline(never)]
fn hash(key: &FlowKey, period: u64, seed: [u64; 2]) -> u64 {
    let ([a, b], [c, d]) = (key.src.words(), key.dst.words());
    let ports =
        u32::from_ne_bytes([key.src_port[0], key.src_port[1], key.dst_port[0], key.dst_port[1]]);
    let last = (ports as u64) << 32 | period & 0xffff_ffff;
    let mut state = State([
        seed[0] ^ 0x736f_6d65_7073_6575,
        seed[1] ^ 0x646f_7261_6e64_6f6d,
        seed[0] ^ 0x6c79_6765_6e65_7261,
        seed[1] ^ 0x7465_6462_7974_6573,
    ]);
    // Five words are forty bytes.
    for word in [a, b, c, d, last, 40 << 56] {
        state.absorb(word);
    }
    state.finish()
}

struct State([u64; 4]);

impl State {
    #[inline(always)]
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    #[inline(always)]
    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.round();
        let [a, b, c, d] = self.0;
        a ^ b ^ c ^ d
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    #![allow(deprecated)]
    use std::hash::{Hasher as _, SipHasher};

    use proptest::prelude::*;

    use super::*;
    use crate::abi::Address;

    const SEED: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
    const MINUTE: u64 = 1 << PERIOD;

    fn key(src: [u8; 16], dst: [u8; 16], src_port: [u8; 2], dst_port: [u8; 2]) -> FlowKey {
        FlowKey { src: Address::v6(src), dst: Address::v6(dst), src_port, dst_port, protocol: 6 }
    }

    fn passes(key: &FlowKey, told: u64, now: u64) -> bool {
        is_good(told as u32, key, now, SEED)
    }

    proptest! {
        /// The standard library has the same function, written by others.
        #[test]
        fn it_is_siphash(
            src: [u8; 16],
            dst: [u8; 16],
            ports: [u8; 4],
            period: u32,
            seed: [u64; 2],
        ) {
            let [a, b, c, d] = ports;
            let mut other = SipHasher::new_with_keys(seed[0], seed[1]);
            other.write(&[&src[..], &dst, &period.to_le_bytes(), &ports].concat());
            let key = key(src, dst, [a, b], [c, d]);
            prop_assert_eq!(hash(&key, period.into(), seed), other.finish());
        }

        #[test]
        fn it_is_good_for_one_period_to_two(
            src: [u8; 16], dst: [u8; 16], ports: [u8; 4], now in MINUTE..1 << 60,
        ) {
            let [a, b, c, d] = ports;
            let key = key(src, dst, [a, b], [c, d]);
            let told = bake(&key, now, SEED);
            prop_assert!(passes(&key, told, now));
            prop_assert!(passes(&key, told, now + MINUTE));
            prop_assert!(!passes(&key, told, now + 2 * MINUTE));
            prop_assert!(!passes(&key, told, now - MINUTE));
        }

        #[test]
        fn it_is_good_for_nobody_else(
            src: [u8; 16], dst: [u8; 16], ports: [u8; 4], place in 0_usize..36, flip in 1_u8..,
            now in MINUTE..1 << 60,
        ) {
            let whole = [&src[..], &dst, &ports].concat();
            let mut other = whole.clone();
            other[place] ^= flip;
            let [key, other] = [whole, other].map(|it| key(
                it[..16].try_into().unwrap(), it[16..32].try_into().unwrap(),
                it[32..34].try_into().unwrap(), it[34..].try_into().unwrap(),
            ));
            prop_assert!(!passes(&other, bake(&key, now, SEED), now));
            prop_assert!(!is_good(bake(&key, now, [1, 2]) as u32, &key, now, SEED));
        }
    }
}
