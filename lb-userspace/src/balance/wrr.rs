//! Weighted round robin: turns in proportion to the weights, those of one backend spread evenly
//! among the others'.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::service::wrr_sequence;

/// Turns passed over before looking at every backend for one that is eligible.
const MISSES: usize = 8;

/// Turns until they begin again, at most.
const LONGEST: u32 = 1 << 16;

/// Whose turn it is, for all workers together.
pub struct WrrSchedule {
    order: Box<[u32]>,
    next: AtomicUsize,
}

impl WrrSchedule {
    pub fn new(weights: &[u16]) -> Self {
        Self { order: wrr_sequence(weights, LONGEST).into(), next: AtomicUsize::new(0) }
    }

    /// The next eligible one. A turn that is passed over is gone, so that the others keep their
    /// proportions.
    pub fn pick(&self, eligible: impl Fn(usize) -> bool, backends: usize) -> Option<usize> {
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
