//! Changes on the host that the kernel reported and that wait to be handled.

use std::time::{Duration, Instant};

use crate::host::Changes;

/// Between two looks at what seldom changes on a host. The first change is followed at once.
const QUICK: Duration = Duration::from_millis(100);
/// The same for routes and neighbours, which may change all the time.
const STEADY: Duration = Duration::from_secs(1);

/// Changes that the kernel reported and that wait to be handled.
pub(crate) struct HostChanges {
    changes: Changes,
    quick: Instant,
    steady: Instant,
}

impl HostChanges {
    pub(crate) fn new(now: Instant) -> Self {
        Self { changes: Changes::default(), quick: now, steady: now }
    }

    pub(crate) fn add(&mut self, changes: Changes) {
        self.changes |= changes;
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        let (quick, steady) = halves(self.changes);
        let quick = quick.any().then_some(self.quick);
        quick.into_iter().chain(steady.any().then_some(self.steady)).min()
    }

    /// Takes out the changes that are due.
    pub(crate) fn take(&mut self, now: Instant) -> Changes {
        let (quick, steady) = halves(self.changes);
        let (mut taken, mut left) = (Changes::default(), Changes::default());
        for (changes, due, pause) in
            [(quick, &mut self.quick, QUICK), (steady, &mut self.steady, STEADY)]
        {
            if *due > now {
                left |= changes;
            } else if changes.any() {
                taken |= changes;
                *due = now + pause;
            }
        }
        self.changes = left;
        taken
    }
}

fn halves(changes: Changes) -> (Changes, Changes) {
    let Changes { routes, neighbours, .. } = changes;
    let steady = Changes { routes, neighbours, ..Changes::default() };
    (Changes { routes: false, neighbours: false, ..changes }, steady)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seldom_things_are_looked_at_soon_and_busy_ones_once_a_second() {
        let start = Instant::now();
        let mut heard = HostChanges::new(start);
        assert_eq!(heard.due(), None);
        let none = Changes::default();
        let (local, routes) =
            (Changes { local_routes: true, ..none }, Changes { routes: true, ..none });
        heard.add(local);
        heard.add(routes);
        assert_eq!(heard.due(), Some(start));
        assert_eq!(heard.take(start), local | routes);
        heard.add(local);
        heard.add(routes);
        assert_eq!(heard.due(), Some(start + QUICK));
        assert_eq!(heard.take(start), none);
        assert_eq!(heard.take(start + QUICK), local);
        assert_eq!(heard.due(), Some(start + STEADY));
        assert_eq!(heard.take(start + STEADY), routes);
        assert_eq!(heard.due(), None);
    }
}
