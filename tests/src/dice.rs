//! Choices that a seed decides.

use lb_common::prng::{STEP, scramble};

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn half(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(STEP);
        (scramble(self.0) >> 32) as u32
    }

    pub(crate) fn word(&mut self) -> u64 {
        u64::from(self.half()) << 32 | u64::from(self.half())
    }

    /// Less than `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.word() % limit as u64) as usize
    }

    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.half() as u8).collect()
    }
}
