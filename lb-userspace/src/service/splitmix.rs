//! Hashes that every node and every version agree on.

use lb_common::prng::{STEP, scramble};

/// The number that SplitMix64 makes from `state`. Rings and server ids are made with it: it never
/// changes.
#[must_use]
pub const fn mix(state: u64) -> u64 {
    scramble(state.wrapping_add(STEP))
}
