//! Weighted round robin: turns in proportion to the weights, those of one backend spread evenly
//! among the others'.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::service::wrr_sequence;

/// Turns skipped before all backends are searched for an eligible one.
const MISSES: usize = 8;

/// The most turns in a cycle.
const LONGEST: u32 = 1 << 16;

/// The schedule, shared by all workers.
pub(super) struct WrrSchedule {
    order: Box<[u32]>,
    next: AtomicUsize,
}

impl WrrSchedule {
    pub(super) fn new(weights: &[u16]) -> Self {
        Self { order: wrr_sequence(weights, LONGEST).into(), next: AtomicUsize::new(0) }
    }

    /// Returns the next eligible backend. A skipped turn is lost, so that the others keep their
    /// proportions.
    pub(super) fn pick(&self, eligible: impl Fn(usize) -> bool, backends: usize) -> Option<usize> {
        for miss in 0..self.order.len() {
            if miss == MISSES && !(0..backends).any(&eligible) {
                return None;
            }
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.order.len();
            let backend = self.order[turn] as usize;
            if eligible(backend) {
                return Some(backend);
            }
        }
        None
    }
}
