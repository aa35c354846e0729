//! Peak EWMA: draws two backends by weight and takes the one that should answer sooner, by its
//! recent latency times its load. As in Finagle's and linkerd's p2c.

use super::p2c::{WeightedSampler, better_of_two};
use crate::load::{Latency, Tick};

/// The cost, in µs, of a backend that has been tried but has not answered yet: none is known to be
/// slower.
const UNKNOWN: f64 = 1e9;

/// Returns the cost of a backend with that load, of `share` times the mean weight.
///
/// An unknown backend is free while it is idle, so that it is tried: by one request until that is
/// answered.
pub(super) fn cost(latency: &Latency, now: Tick, load: u64, share: f64) -> f64 {
    let load = load as f64;
    match latency.expected(now) {
        Some(expected) => f64::from(expected) * (1.0 + load / share),
        None => UNKNOWN * load / share,
    }
}

/// Picks the cheaper one of two.
pub(super) fn pick(
    sampler: &WeightedSampler,
    eligible: impl Fn(usize) -> bool,
    cost: impl Fn(usize, f64) -> f64,
    rng: &mut fastrand::Rng,
) -> Option<usize> {
    let cost = |index| cost(index, sampler.share(index));
    better_of_two(sampler, eligible, |one, other| cost(one) < cost(other), rng)
}
