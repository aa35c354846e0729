//! Random numbers that can be repeated: for the model of the packet path's surroundings, and for an
//! object that is compared with it. SplitMix64 (Steele, Lea and Flood, 2014).

/// From state to state.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number of a state.
#[inline(always)]
#[must_use]
pub const fn scramble(state: u64) -> u32 {
    let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 32) as u32
}
