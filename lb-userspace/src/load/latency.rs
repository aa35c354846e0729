//! The recent latency of a backend.
//!
//! The average rises at once and falls with time: "peak EWMA", of Finagle (Twitter, `PeakEwma` in
//! `com.twitter.finagle.loadbalancer`) and linkerd. A backend that was slow once keeps that average
//! until it has answered faster for a while, or has not been used for long.

use std::sync::atomic::{AtomicU64, Ordering};

/// The time constant, in ms: an observation of that age weighs a third (1/e). As in Finagle and
/// linkerd.
const DECAY: f32 = 10_000.0;
/// The least latency of a failure, in µs: failing fast does not make a backend fast.
const FAILURE: f32 = 1_000_000.0;

/// Milliseconds since some moment of the caller's choice; may wrap around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick(pub u32);

impl Tick {
    /// Returns the ms since `earlier`; 0 if that is later, because another thread may have been
    /// first.
    fn since(self, earlier: Self) -> f32 {
        (self.0.wrapping_sub(earlier.0) as i32).max(0) as f32
    }
}

/// The average and its time in one word: an observation is a load and a store. Of two concurrent
/// ones, one may be lost.
#[derive(Debug, Default)]
pub struct Latency(AtomicU64);

impl Latency {
    /// Records an answer that took so many µs.
    pub fn observe(&self, now: Tick, took: u32) {
        let took = (took as f32).max(1.0);
        self.update(now, |old| match old {
            Some((average, weight)) if took < average * weight => {
                average * weight + took * (1.0 - weight)
            }
            _ => took,
        });
    }

    /// Records a missing answer, or one that shows trouble of the backend, after so many µs. Never
    /// makes a backend look faster.
    pub fn observe_failure(&self, now: Tick, took: u32) {
        let took = (took as f32).max(FAILURE);
        self.update(now, |old| old.map_or(took, |(average, weight)| took.max(average * weight)));
    }

    /// Returns the expected latency, in µs. It falls while nothing is observed, so that the backend
    /// is tried again some day. `None`: nothing was observed yet.
    #[must_use]
    pub fn expected(&self, now: Tick) -> Option<f32> {
        let (at, average) = self.read()?;
        Some(average * weight(now.since(at)))
    }

    fn update(&self, now: Tick, next: impl FnOnce(Option<(f32, f32)>) -> f32) {
        let old = self.read().map(|(at, average)| (average, weight(now.since(at))));
        let word = u64::from(now.0) << 32 | u64::from(next(old).to_bits());
        self.0.store(word, Ordering::Relaxed);
    }

    fn read(&self) -> Option<(Tick, f32)> {
        let word = self.0.load(Ordering::Relaxed);
        let average = f32::from_bits(word as u32);
        (average > 0.0).then_some((Tick((word >> 32) as u32), average))
    }
}

fn weight(age: f32) -> f32 {
    (-age / DECAY).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(latency: &Latency, at: u32) -> u32 {
        latency.expected(Tick(at)).unwrap().round() as u32
    }

    #[test]
    fn it_rises_at_once_and_falls_with_time() {
        let latency = Latency::default();
        assert_eq!(latency.expected(Tick(0)), None);
        latency.observe(Tick(5), 1_000);
        latency.observe(Tick(5), 80_000);
        assert_eq!(expected(&latency, 5), 80_000);
        latency.observe(Tick(5), 1_000);
        assert_eq!(expected(&latency, 5), 80_000, "no time has passed");
        for tick in 6..=10_005 {
            latency.observe(Tick(tick), 1_000);
        }
        let fallen = expected(&latency, 10_005);
        assert!((28_000..32_000).contains(&fallen), "{fallen}: a third of what it was above 1000");
        for tick in 10_006..=90_005 {
            latency.observe(Tick(tick), 1_000);
        }
        assert!((1_000..1_100).contains(&expected(&latency, 90_005)));
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let latency = Latency::default();
        latency.observe(Tick(0), 100_000);
        assert_eq!(expected(&latency, 10_000), 36_788);
        assert!(expected(&latency, 100_000) < 10);
        latency.observe(Tick(100_000), 2_000);
        assert_eq!(expected(&latency, 100_000), 2_000, "and leaves no trace");
    }

    #[test]
    fn failures_make_nobody_fast() {
        let latency = Latency::default();
        latency.observe_failure(Tick(0), 30);
        assert_eq!(expected(&latency, 0), 1_000_000);
        latency.observe(Tick(1), 3_000_000);
        latency.observe_failure(Tick(1), 30);
        assert_eq!(expected(&latency, 1), 3_000_000);
    }

    #[test]
    fn time_wraps_and_may_seem_to_go_back() {
        let latency = Latency::default();
        latency.observe(Tick(u32::MAX), 1_000);
        assert_eq!(expected(&latency, 9_999), 368);
        assert_eq!(expected(&latency, u32::MAX - 5), 1_000);
    }
}
