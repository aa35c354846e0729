//! Says in the log that a service fails, at most once a second for each worker: a service that is
//! down fails every request, and a log of all of them helps nobody.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

use super::answer::Fault;
use crate::fleet::RunningService;

const BETWEEN: Duration = Duration::from_secs(1);

thread_local! {
    static OURS: Complaints = const { Complaints { told: Cell::new(None), unsaid: Cell::new(0) } };
}

struct Complaints {
    told: Cell<Option<Instant>>,
    /// Failures since then.
    unsaid: Cell<u64>,
}

impl Complaints {
    /// How many failures went unsaid, where this one is to be said.
    fn admit(&self, now: Instant) -> Option<u64> {
        if self.told.get().is_some_and(|told| now < told + BETWEEN) {
            self.unsaid.set(self.unsaid.get() + 1);
            return None;
        }
        self.told.set(Some(now));
        Some(self.unsaid.take())
    }
}

/// A request to `service` failed by its servers or their number, not by its client.
pub(super) fn complain(service: &RunningService, fault: Fault) {
    let service = &service.service.name;
    if let Some(others) = OURS.with(|ours| ours.admit(Instant::now())) {
        let (status, reason) = (fault.status().as_u16(), fault.word());
        tracing::warn!(%service, status, reason, others, "{fault}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_tells_of_the_others() {
        let complaints = Complaints { told: Cell::default(), unsaid: Cell::default() };
        let start = Instant::now();
        let admitted = [0, 1, 500, 999, 1000, 1001, 3000]
            .map(|after| complaints.admit(start + Duration::from_millis(after)));
        assert_eq!(admitted, [Some(0), None, None, None, Some(3), None, Some(1)]);
    }
}
