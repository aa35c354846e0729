//! Finding counts in LOAD that no longer say the truth: pure.

use lb_common::abi::live;

/// One backend's count as a sweep saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The word of LOAD before the walk through the flows, and after it. `None`: a flow may have
    /// been met twice.
    pub before: Option<u64>,
    pub after: u64,
    /// Open flows that the walk found.
    pub flows: u64,
    /// Connections of this process.
    pub permits: u64,
}

impl Observation {
    /// By how much LOAD is too high; `None` where the walk cannot tell.
    ///
    /// A walk is no snapshot. A flow that opens behind it is in LOAD and not among `flows`; one
    /// that closes ahead of it the other way round; a permit is taken a moment after its count.
    /// Each of these changes the word, also where one in the place of another leaves the count what
    /// it was: only where it is the same word has nothing happened.
    fn drift(self) -> Option<i64> {
        let expected = self.flows.wrapping_add(self.permits) as u32;
        let drift = (live::count(self.after) as u32).wrapping_sub(expected).cast_signed();
        (self.before == Some(self.after)).then_some(drift.into())
    }
}

/// Remembers the last sweep's findings.
#[derive(Debug)]
pub struct DriftDetector {
    last: Vec<Option<i64>>,
}

impl DriftDetector {
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { last: vec![None; slots] }
    }

    /// What to add to the count of `slot`; 0 while it is right or in doubt.
    ///
    /// Who changes a count and its flow does so within microseconds, but may be stopped in between
    /// (a virtual CPU, a thread of ours) just as the walk comes by: such a finding does not come
    /// twice. True drift (a packet that raced with an expiry, a process that was killed) stays what
    /// it is until it is corrected.
    pub fn correction(&mut self, slot: usize, seen: Observation) -> i64 {
        let found = seen.drift().filter(|&drift| drift != 0);
        let last = std::mem::replace(&mut self.last[slot], found);
        match found {
            Some(drift) if last == Some(drift) => {
                self.last[slot] = None;
                drift.wrapping_neg()
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(load: u64, flows: u64, permits: u64) -> Observation {
        Observation { before: Some(load), after: load, flows, permits }
    }

    #[test]
    fn a_true_count_is_left_alone() {
        let mut watch = DriftDetector::new(1);
        for _ in 0..3 {
            assert_eq!(watch.correction(0, seen(5, 3, 2)), 0);
        }
    }

    #[test]
    fn the_same_drift_twice_is_corrected_once() {
        let mut watch = DriftDetector::new(2);
        assert_eq!(watch.correction(1, seen(7, 3, 2)), 0);
        assert_eq!(watch.correction(1, seen(7, 3, 2)), -2);
        assert_eq!(watch.correction(1, seen(5, 3, 2)), 0);
    }

    #[test]
    fn a_count_below_zero_is_brought_back() {
        let mut watch = DriftDetector::new(1);
        let below = seen(live::OUT, 0, 0);
        assert_eq!(watch.correction(0, below), 0);
        assert_eq!(watch.correction(0, below), 1);
    }

    #[test]
    fn a_drift_that_changes_is_traffic() {
        let mut watch = DriftDetector::new(1);
        for drift in 1..5 {
            assert_eq!(watch.correction(0, seen(drift, 0, 0)), 0);
        }
    }

    #[test]
    fn a_count_that_moved_during_the_walk_proves_nothing() {
        let mut watch = DriftDetector::new(1);
        let moved = Observation { before: Some(4), ..seen(5, 4, 0) };
        assert_eq!(watch.correction(0, seen(5, 4, 0)), 0);
        assert_eq!(watch.correction(0, moved), 0);
        assert_eq!(watch.correction(0, Observation { before: None, ..seen(5, 4, 0) }), 0);
        assert_eq!(watch.correction(0, seen(5, 4, 0)), 0);
        assert_eq!(watch.correction(0, seen(5, 4, 0)), -1);
    }

    /// A client that closes one connection and opens the next, and walks that miss both.
    #[test]
    fn one_that_came_for_one_that_went_is_traffic() {
        let mut watch = DriftDetector::new(1);
        let mut word = live::IN;
        for _ in 0..5 {
            let before = Some(word);
            word = word.wrapping_add(live::OUT).wrapping_add(live::IN);
            let seen = Observation { before, after: word, flows: 0, permits: 0 };
            assert_eq!((live::count(word), watch.correction(0, seen)), (1, 0));
        }
    }
}
