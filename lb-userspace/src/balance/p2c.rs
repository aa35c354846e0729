//! Power of two choices: draws two backends by weight and takes the one with less load per weight.
//!
//! M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.

use std::ops::Range;

/// Random draws before all backends are searched for an eligible one.
const DRAWS: usize = 8;

/// Cumulative weights: a weighted draw is one binary search.
pub(super) struct WeightedSampler {
    /// `edges[i]` is the sum of the weights up to and including backend `i`.
    edges: Box<[u64]>,
}

impl WeightedSampler {
    pub(super) fn new(weights: impl Iterator<Item = u16>) -> Self {
        let edges = weights.scan(0, |sum, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Self { edges: edges.collect() }
    }

    fn before(&self, index: usize) -> u64 {
        index.checked_sub(1).map_or(0, |i| self.edges[i])
    }

    fn weight(&self, index: usize) -> u64 {
        self.edges[index] - self.before(index)
    }

    /// Returns a weight relative to the mean.
    pub(super) fn share(&self, index: usize) -> f64 {
        let total = self.edges.last().copied().unwrap_or(0);
        self.weight(index) as f64 * self.edges.len() as f64 / total as f64
    }

    /// Draws one eligible backend by weight.
    pub(super) fn draw(
        &self,
        eligible: impl Fn(usize) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        self.draw_around(0..0, eligible, rng)
    }

    /// Draws one eligible backend other than `other`, by weight.
    fn draw_another(
        &self,
        other: usize,
        eligible: impl Fn(usize) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        let taken = self.before(other)..self.edges[other];
        self.draw_around(taken, |index| index != other && eligible(index), rng)
    }

    /// Draws outside `gap`, where nothing is eligible.
    fn draw_around(
        &self,
        gap: Range<u64>,
        eligible: impl Fn(usize) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        let width = gap.end - gap.start;
        let total = self.edges.last().map(|total| total - width).filter(|&total| total > 0)?;
        for _ in 0..DRAWS {
            let point = rng.u64(..total);
            let point = if point < gap.start { point } else { point + width };
            let index = self.edges.partition_point(|&edge| edge <= point);
            if eligible(index) {
                return Some(index);
            }
        }
        self.draw_exactly(eligible, rng)
    }

    /// Draws from the same distribution, at the cost of checking every backend.
    fn draw_exactly(
        &self,
        eligible: impl Fn(usize) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        let open = || (0..self.edges.len()).filter(|&i| self.weight(i) > 0 && eligible(i));
        let total: u64 = open().map(|index| self.weight(index)).sum();
        if total == 0 {
            return None;
        }
        let mut point = rng.u64(..total);
        // Loads change meanwhile: a backend that was eligible at first may be missing the second
        // time.
        open().find(|&index| match point.checked_sub(self.weight(index)) {
            Some(rest) => {
                point = rest;
                false
            }
            None => true,
        })
    }
}

/// Picks the one of two with less load per weight.
pub(super) fn pick(
    sampler: &WeightedSampler,
    eligible: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> u64,
    rng: &mut fastrand::Rng,
) -> Option<usize> {
    // load / weight, compared without the division.
    let cost = |index, other| u128::from(load(index)) * u128::from(sampler.weight(other));
    better_of_two(sampler, eligible, |one, other| cost(one, other) < cost(other, one), rng)
}

/// Returns the better of two distinct backends, or the only one, or none. A tie goes to the first
/// drawn, so that idle backends are used in proportion to their weights.
pub(super) fn better_of_two(
    sampler: &WeightedSampler,
    eligible: impl Fn(usize) -> bool,
    is_better: impl Fn(usize, usize) -> bool,
    rng: &mut fastrand::Rng,
) -> Option<usize> {
    let first = sampler.draw(&eligible, rng)?;
    let second = sampler.draw_another(first, eligible, rng);
    Some(second.filter(|&second| is_better(second, first)).unwrap_or(first))
}
