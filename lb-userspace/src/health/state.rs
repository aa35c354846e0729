//! Decides when to check a server next, and when results change its health. No I/O, no clock.

use std::time::{Duration, Instant};

use crate::service::HealthCheck;

/// The maximum time over which first checks are spread.
const MAX_SPREAD: Duration = Duration::from_secs(1);

/// The health of one server, according to its checks.
#[derive(Clone, Debug)]
pub struct Health {
    /// The check intervals, while healthy and while not.
    intervals: [Duration; 2],
    /// Consecutive contrary results required to become unhealthy, and healthy again.
    thresholds: [u32; 2],
    up: bool,
    /// Consecutive results that contradict `up`.
    contrary: u32,
    due: Instant,
}

impl Health {
    /// Starts as healthy or not, according to `up`. The first check is due at once, plus a part of
    /// a tenth of the interval (one second at most) given by `spread`, from 0 to 1, which scatters
    /// the servers' checks.
    #[must_use]
    pub fn new(check: &HealthCheck, up: bool, now: Instant, spread: f64) -> Self {
        let scatter = (check.interval / 10).min(MAX_SPREAD);
        Self {
            intervals: [check.interval, check.unhealthy_interval],
            thresholds: [check.unhealthy_threshold, check.healthy_threshold],
            up,
            contrary: 0,
            due: now + scatter.mul_f64(spread.clamp(0.0, 1.0)),
        }
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Returns when to check next.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Postpones the due check, which could not be made and says nothing about the server: it is
    /// repeated after `pause`, or after its interval if that is shorter.
    pub fn postpone(&mut self, now: Instant, pause: Duration) {
        self.due = now + pause.min(self.intervals[usize::from(!self.up)]);
    }

    /// Handles the result of the due check, which ended at `now`. Returns the new state if it
    /// changed.
    ///
    /// Checks keep their rhythm: the next one is due an interval after this one was, or at once if
    /// this one took longer.
    pub fn handle_outcome(&mut self, now: Instant, healthy: bool) -> Option<bool> {
        self.contrary = if healthy == self.up { 0 } else { self.contrary + 1 };
        let changed = self.contrary >= self.thresholds[usize::from(!self.up)].max(1);
        if changed {
            self.up = healthy;
            self.contrary = 0;
        }
        self.due = now.max(self.due + self.intervals[usize::from(!self.up)]);
        changed.then_some(self.up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Probe;

    const SECOND: Duration = Duration::from_secs(1);

    fn health(healthy_threshold: u32, unhealthy_threshold: u32) -> (Health, Instant) {
        let check = HealthCheck {
            interval: 30 * SECOND,
            unhealthy_interval: 2 * SECOND,
            healthy_threshold,
            unhealthy_threshold,
            ..HealthCheck::plain(Probe::Tcp)
        };
        let now = Instant::now();
        (Health::new(&check, true, now, 0.0), now)
    }

    /// Applies results in turn, `+` for a success, and returns the transitions that they cause:
    /// `u`, `d` or `.`.
    fn transitions(health: &mut Health, outcomes: &str) -> String {
        let answer = |outcome| match health.handle_outcome(health.due(), outcome == '+') {
            Some(true) => 'u',
            Some(false) => 'd',
            None => '.',
        };
        outcomes.chars().map(answer).collect()
    }

    #[test]
    fn thresholds_of_one_follow_every_outcome() {
        let (mut health, _) = health(1, 1);
        assert_eq!(transitions(&mut health, "++--+-+"), "..d.udu");
        assert!(health.is_up());
    }

    #[test]
    fn only_consecutive_outcomes_count() {
        let (mut health, _) = health(2, 3);
        assert_eq!(transitions(&mut health, "--+--+---"), "........d");
        assert_eq!(transitions(&mut health, "+-+-++"), ".....u");
        assert_eq!(transitions(&mut health, "--+---"), ".....d");
    }

    #[test]
    fn the_interval_depends_on_the_state() {
        let (mut health, start) = health(1, 2);
        assert_eq!(health.due(), start);
        transitions(&mut health, "+-");
        assert_eq!(health.due(), start + 60 * SECOND, "one failure of two: still healthy");
        transitions(&mut health, "-");
        assert_eq!(health.due(), start + 62 * SECOND);
        transitions(&mut health, "+");
        assert_eq!(health.due(), start + 92 * SECOND);
    }

    #[test]
    fn a_slow_check_neither_shifts_the_beat_nor_piles_up() {
        let (mut health, start) = health(1, 1);
        health.handle_outcome(start + 5 * SECOND, true);
        assert_eq!(health.due(), start + 30 * SECOND);
        health.handle_outcome(start + 100 * SECOND, true);
        assert_eq!(health.due(), start + 100 * SECOND);
    }

    #[test]
    fn a_check_that_could_not_be_made_says_nothing() {
        let (mut health, start) = health(2, 2);
        assert_eq!(transitions(&mut health, "-"), ".");
        health.postpone(start + 30 * SECOND, SECOND);
        assert_eq!(health.due(), start + 31 * SECOND);
        health.postpone(start + 31 * SECOND, 99 * SECOND);
        assert_eq!(health.due(), start + 61 * SECOND, "no later than the next one would be");
        assert_eq!(transitions(&mut health, "-"), "d", "the second one that was made");
    }

    #[test]
    fn first_checks_are_spread() {
        let (_, now) = health(1, 1);
        let mut check = HealthCheck::plain(Probe::Tcp);
        let due = |check: &HealthCheck, spread| Health::new(check, true, now, spread).due() - now;
        assert_eq!(due(&check, 0.0), Duration::ZERO);
        assert_eq!(due(&check, 1.0), SECOND);
        check.interval = 2 * SECOND;
        assert_eq!(due(&check, 0.5), SECOND / 10);
    }
}
