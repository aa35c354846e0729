//! Finding counts in LOAD that no longer say the truth: pure.

/// One backend's count as a sweep saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// LOAD before the walk through the flows, and after it.
    pub before: u64,
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
    /// Each of these moves LOAD, so a count that moved during the walk proves nothing.
    fn drift(self) -> Option<i64> {
        let expected = self.flows.wrapping_add(self.permits);
        (self.before == self.after).then(|| self.after.wrapping_sub(expected).cast_signed())
    }
}

/// Remembers the last sweep's findings.
#[derive(Debug)]
pub struct DriftWatch {
    last: Vec<Option<i64>>,
}

impl DriftWatch {
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { last: vec![None; slots] }
    }

    /// What to add to the count of `slot`; 0 while it is right or in doubt.
    ///
    /// One opening and one closing can cancel out in LOAD while the walk sees only one of them, so
    /// a single finding may still be such a race. It would have to happen twice with the same
    /// outcome for a wrong correction, and the sweeps after that would find and take back its
    /// effect in the same way. True drift (a packet that raced with an expiry, a map entry lost)
    /// stays what it is until it is corrected.
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
        Observation { before: load, after: load, flows, permits }
    }

    #[test]
    fn a_true_count_is_left_alone() {
        let mut watch = DriftWatch::new(1);
        for _ in 0..3 {
            assert_eq!(watch.correction(0, seen(5, 3, 2)), 0);
        }
    }

    #[test]
    fn the_same_drift_twice_is_corrected_once() {
        let mut watch = DriftWatch::new(2);
        assert_eq!(watch.correction(1, seen(7, 3, 2)), 0);
        assert_eq!(watch.correction(1, seen(7, 3, 2)), -2);
        assert_eq!(watch.correction(1, seen(5, 3, 2)), 0);
    }

    #[test]
    fn a_count_below_zero_is_brought_back() {
        let mut watch = DriftWatch::new(1);
        let below = seen(0_u64.wrapping_sub(1), 0, 0);
        assert_eq!(watch.correction(0, below), 0);
        assert_eq!(watch.correction(0, below), 1);
    }

    #[test]
    fn a_drift_that_changes_is_traffic() {
        let mut watch = DriftWatch::new(1);
        for drift in 1..5 {
            assert_eq!(watch.correction(0, seen(drift, 0, 0)), 0);
        }
    }

    #[test]
    fn a_count_that_moved_during_the_walk_proves_nothing() {
        let mut watch = DriftWatch::new(1);
        let moved = Observation { before: 4, ..seen(5, 4, 0) };
        assert_eq!(watch.correction(0, seen(5, 4, 0)), 0);
        assert_eq!(watch.correction(0, moved), 0);
        assert_eq!(watch.correction(0, seen(5, 4, 0)), 0);
        assert_eq!(watch.correction(0, seen(5, 4, 0)), -1);
    }
}
