//! Power of two choices: draw two backends by weight, take the one with less load per weight.
//!
//! M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.

/// Draws at random before looking at every backend for one that is eligible.
const DRAWS: usize = 8;

/// Weights summed up, so that a draw is one binary search.
pub struct Wheel {
    /// `edges[i]` is the sum of the weights up to and including backend `i`.
    edges: Box<[u32]>,
}

impl Wheel {
    pub fn new(weights: impl Iterator<Item = u16>) -> Self {
        let edges = weights.scan(0, |sum, weight| {
            *sum += u32::from(weight);
            Some(*sum)
        });
        Self { edges: edges.collect() }
    }

    fn weight(&self, index: usize) -> u32 {
        let before = index.checked_sub(1).map_or(0, |i| self.edges[i]);
        self.edges[index] - before
    }

    /// A weight relative to the mean of all.
    pub fn share(&self, index: usize) -> f64 {
        let total = self.edges.last().copied().unwrap_or(0);
        f64::from(self.weight(index)) * self.edges.len() as f64 / f64::from(total)
    }

    /// One by weight, among those that are eligible.
    pub fn draw(&self, eligible: impl Fn(usize) -> bool, rng: &mut fastrand::Rng) -> Option<usize> {
        let total = self.edges.last().copied().filter(|&total| total > 0)?;
        for _ in 0..DRAWS {
            let point = rng.u32(..total);
            let index = self.edges.partition_point(|&edge| edge <= point);
            if eligible(index) {
                return Some(index);
            }
        }
        self.draw_exactly(eligible, rng)
    }

    /// The same distribution at the cost of asking about every backend.
    fn draw_exactly(
        &self,
        eligible: impl Fn(usize) -> bool,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        let open = || (0..self.edges.len()).filter(|&i| self.weight(i) > 0 && eligible(i));
        let total: u32 = open().map(|index| self.weight(index)).sum();
        if total == 0 {
            return None;
        }
        let mut point = rng.u32(..total);
        // Loads move meanwhile: whoever was eligible first may be missing in the second look.
        open().find(|&index| match point.checked_sub(self.weight(index)) {
            Some(rest) => {
                point = rest;
                false
            }
            None => true,
        })
    }
}

/// The better of two distinct backends, or the only one, or none. A tie goes to the first drawn,
/// so that idle backends are used in proportion to their weights.
pub fn pick(
    wheel: &Wheel,
    eligible: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> u64,
    rng: &mut fastrand::Rng,
) -> Option<usize> {
    let first = wheel.draw(&eligible, rng)?;
    let Some(second) = wheel.draw(|index| index != first && eligible(index), rng) else {
        return Some(first);
    };
    // load / weight, compared without the division.
    let cost = |index, other| u128::from(load(index)) * u128::from(wheel.weight(other));
    let better = cost(second, first) < cost(first, second);
    Some(if better { second } else { first })
}
