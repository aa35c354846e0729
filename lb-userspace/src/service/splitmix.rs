//! A hash that every node and every version agree on.

use lb_common::prng::{STEP, scramble};

/// Returns SplitMix64's output for `state`. Rings and server ids depend on it: it must never
/// change.
#[must_use]
pub const fn mix(state: u64) -> u64 {
    scramble(state.wrapping_add(STEP))
}
