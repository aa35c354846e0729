//! The times at which servers that left the configuration are checked for remaining flows.

use std::time::{Duration, Instant};

/// Between checks, and by how much a server may outstay its deadline.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct LeaverChecks {
    last: Instant,
}

impl LeaverChecks {
    pub(crate) fn new(now: Instant) -> Self {
        Self { last: now }
    }

    /// Returns when the next check is due, counted from the last one: the daemon's other work comes
    /// more often than that.
    pub(crate) fn due(&self) -> Instant {
        self.last + PAUSE
    }

    /// Records that a check begins.
    pub(crate) fn note(&mut self, now: Instant) {
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_meanwhile_postpones_no_check() {
        let start = Instant::now();
        let mut checks = LeaverChecks::new(start);
        let dues: Vec<_> = (0..5).map(|_| checks.due()).collect();
        assert_eq!(dues, [start + PAUSE; 5], "however often it is asked");
        checks.note(start + PAUSE * 2);
        assert_eq!(checks.due(), start + PAUSE * 3);
    }
}
