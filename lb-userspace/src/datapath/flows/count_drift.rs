//! Detects counts in LOAD that have drifted from the truth: pure.

use lb_common::abi::live;

/// One backend's count as observed by a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    /// The word of LOAD before and after the walk through the flows. `None` if a flow may have been
    /// visited twice.
    pub before: Option<u64>,
    pub after: u64,
    /// Open flows that the walk found.
    pub flows: u64,
    /// Connections of this process's proxy.
    pub permits: u64,
}

impl Observation {
    /// Returns by how much LOAD is too high; `None` if the walk cannot tell.
    ///
    /// A walk is not a snapshot. A flow that opens behind it is in LOAD but not in `flows`; a flow
    /// that closes ahead of it is the other way round; a permit is counted a moment after LOAD.
    /// Each of these changes the word, even where one cancels the other in the count. So only an
    /// unchanged word proves that nothing happened.
    fn drift(self) -> Option<i64> {
        let expected = self.flows.wrapping_add(self.permits) as u32;
        let drift = (live::count(self.after) as u32).wrapping_sub(expected).cast_signed();
        (self.before == Some(self.after)).then_some(drift.into())
    }
}

/// Compares each sweep with the one before.
#[derive(Debug)]
pub(crate) struct DriftDetector {
    last: Vec<Option<i64>>,
}

impl DriftDetector {
    #[must_use]
    pub(crate) fn new(slots: usize) -> Self {
        Self { last: vec![None; slots] }
    }

    /// Returns what to add to the count of `slot`; 0 while it is right or in doubt.
    ///
    /// A count and its flow change within microseconds of each other, but the thread or virtual CPU
    /// may be stopped in between while the walk passes; such a finding does not repeat. True drift
    /// (a packet that raced with an expiry, a process that was killed) stays the same until it is
    /// corrected.
    pub(crate) fn correction(&mut self, slot: usize, seen: Observation) -> i64 {
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

    /// A client closes one connection and opens the next, and walks miss both.
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
