//! Numbers that look random and can be repeated: SplitMix64 (Steele, Lea, Flood: "Fast splittable
//! pseudorandom number generators", 2014).
//!
//! For the model of the packet path's surroundings, for an object that is compared with it, and for
//! what every node and every version must agree on. It never changes.

/// From state to state.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number of a state. Where half of it is enough, the upper one is taken.
#[inline(always)]
#[must_use]
pub const fn scramble(state: u64) -> u64 {
    let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
