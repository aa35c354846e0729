//! Two drawn by weight, of which the one is taken that should answer sooner: how long it took of
//! late, times what it has to do already. As Finagle's and linkerd's p2c with peak EWMA.

use super::p2c::{WeightedSampler, better_of_two};
use crate::load::{Latency, Tick};

/// What a backend costs that has been asked and has not answered yet, µs: nobody is known to be
/// slower.
const UNKNOWN: f64 = 1e9;

/// The cost of a backend with that load, of `share` times the mean weight.
///
/// One of which nothing is known is free while it has nothing to do, so that it is tried: by one
/// request until that is answered.
pub fn cost(latency: &Latency, now: Tick, load: u64, share: f64) -> f64 {
    let load = load as f64;
    match latency.expected(now) {
        Some(expected) => f64::from(expected) * (1.0 + load / share),
        None => UNKNOWN * load / share,
    }
}

/// The cheaper one.
pub fn pick(
    sampler: &WeightedSampler,
    eligible: impl Fn(usize) -> bool,
    cost: impl Fn(usize, f64) -> f64,
    rng: &mut fastrand::Rng,
) -> Option<usize> {
    let cost = |index| cost(index, sampler.share(index));
    better_of_two(sampler, eligible, |one, other| cost(one) < cost(other), rng)
}
