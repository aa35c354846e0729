//! The record of repairs: what others undid on this host and lb restored, how often, when the next
//! repair may be, and what the log says.
//!
//! The first change is repaired at once: it is a reload, or a command by mistake. Somebody who
//! repeats it (a network manager with rules of its own) is answered ever later, up to [`LONGEST`],
//! and reported once. After [`QUIET`] without a change it starts over.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::warn;

use crate::admin::RepairCount;

/// Between the first repair of a thing and the second; doubles each time.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(16);
const QUIET: Duration = Duration::from_secs(600);
/// Repairs of a thing after which it is reported as a conflict.
const FIGHT: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RepairKind {
    /// The local route of an announced address.
    Route,
    /// A sysctl.
    Setting,
    /// Neighbour entries of next hops.
    Neighbour,
    /// The XDP program of an interface.
    Program,
    /// The `sk_lookup` program, which leads connections to the proxy.
    Listeners,
    /// A name in the bpffs.
    Pin,
}

impl RepairKind {
    const ALL: [Self; 6] =
        [Self::Route, Self::Setting, Self::Neighbour, Self::Program, Self::Listeners, Self::Pin];

    fn name(self) -> &'static str {
        match self {
            Self::Route => "local_route",
            Self::Setting => "setting",
            Self::Neighbour => "neighbour",
            Self::Program => "program",
            Self::Listeners => "listeners",
            Self::Pin => "pin",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Route => "the local route of an announced address was gone",
            Self::Setting => "a setting that steering needs was changed",
            Self::Neighbour => "neighbour entries that steering needs were removed",
            Self::Program => "the XDP program was detached from an interface",
            Self::Listeners => "the program that leads connections to the proxy was detached",
            Self::Pin => "a pin of the data path, which lets it outlive lb, was removed",
        }
    }
}

/// Counts of repairs by kind, for `lb status`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<[AtomicU64; RepairKind::ALL.len()]>);

impl Counts {
    pub(crate) fn shown(&self) -> Vec<RepairCount> {
        let counts = RepairKind::ALL.iter().zip(self.0.iter());
        let shown = |(kind, count): (&RepairKind, &AtomicU64)| RepairCount {
            what: kind.name().to_owned(),
            count: count.load(Ordering::Relaxed),
        };
        counts.map(shown).collect()
    }
}

#[derive(Default)]
pub(crate) struct Repairs {
    cases: BTreeMap<(RepairKind, String), Case>,
    counts: Counts,
}

struct Case {
    times: u32,
    last: Instant,
    /// Found again, and postponed.
    waits: bool,
    /// Why the last repair failed, as last reported.
    failed: Option<String>,
}

impl Repairs {
    pub(crate) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// Returns whether something that was found changed is to be repaired now.
    pub(crate) fn is_due(&mut self, kind: RepairKind, thing: &str, now: Instant) -> bool {
        let Some(case) = self.cases.get_mut(&(kind, thing.to_owned())) else {
            return true;
        };
        case.waits = now < case.last + case.pause();
        !case.waits
    }

    /// Records the result of a repair.
    pub(crate) fn note(
        &mut self,
        kind: RepairKind,
        thing: &str,
        done: Result<(), impl Display>,
        now: Instant,
    ) {
        self.cases.retain(|_, case| now < case.last + QUIET);
        let fresh = || Case { times: 0, last: now, waits: false, failed: None };
        let case = self.cases.entry((kind, thing.to_owned())).or_insert_with(fresh);
        case.last = now;
        case.times = case.times.saturating_add(1);
        let words = kind.words();
        match done.map_err(|error| error.to_string()) {
            Ok(()) => {
                case.failed = None;
                self.counts.0[kind as usize].fetch_add(1, Ordering::Relaxed);
                match case.times {
                    1 => warn!(thing, "{words}; it is restored"),
                    FIGHT => warn!(
                        thing,
                        within = ?LONGEST,
                        "{words} repeatedly: lb keeps restoring it, ever later up to this, and \
                         does not report it again (`lb status` counts); find out who does it"
                    ),
                    _ => {}
                }
            }
            Err(why) => {
                if case.failed.as_ref() != Some(&why) {
                    warn!(thing, why, "{words}, and cannot be restored now");
                }
                case.failed = Some(why);
            }
        }
    }

    /// Returns when the next postponed repair is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let waiting = self.cases.values().filter(|case| case.waits);
        waiting.map(|case| case.last + case.pause()).min()
    }

    /// Returns whether postponed repairs are due, which then wait no longer: what has been put
    /// right meanwhile, by whoever undid it, is not found again.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        let waiting = self.cases.values_mut().filter(|case| case.waits);
        let due = waiting.filter(|case| case.last + case.pause() <= now);
        due.map(|case| case.waits = false).count() > 0
    }
}

impl Case {
    fn pause(&self) -> Duration {
        let doubled = 1_u32.checked_shl(self.times.saturating_sub(1)).unwrap_or(u32::MAX);
        FIRST.saturating_mul(doubled).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_repair_is_at_once_and_later_ones_ever_later() {
        let (mut repairs, start) = (Repairs::default(), Instant::now());
        let mut now = start;
        for pause in [0, 1, 2, 4, 8, 16, 16] {
            if pause > 0 {
                let early = now + SECOND * pause - Duration::from_millis(1);
                assert!(!repairs.is_due(RepairKind::Route, "203.0.113.1", early), "{pause}");
                assert_eq!(repairs.next(), Some(now + SECOND * pause));
            }
            now += SECOND * pause;
            assert!(repairs.is_due(RepairKind::Route, "203.0.113.1", now), "{pause}");
            assert_eq!(repairs.next(), None);
            repairs.note(RepairKind::Route, "203.0.113.1", Ok::<_, String>(()), now);
        }
        assert!(repairs.is_due(RepairKind::Route, "203.0.113.2", now), "another thing");
        assert!(repairs.is_due(RepairKind::Setting, "203.0.113.1", now), "another kind");
        let counted = repairs.counts().shown();
        assert_eq!(counted.iter().map(|it| it.count).collect::<Vec<_>>(), [7, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_somebody_else_put_right_is_waited_for_no_longer() {
        let (mut repairs, start) = (Repairs::default(), Instant::now());
        repairs.note(RepairKind::Setting, "x", Ok::<_, String>(()), start);
        assert!(!repairs.is_due(RepairKind::Setting, "x", start + SECOND / 2), "found again");
        assert!(!repairs.take_due(start + SECOND / 2));
        assert!(repairs.take_due(start + SECOND));
        assert_eq!(repairs.next(), None, "the look that this was for did not find it");
        assert!(!repairs.take_due(start + SECOND));
        assert!(repairs.is_due(RepairKind::Setting, "x", start + SECOND), "found once more");
    }

    #[test]
    fn after_a_quiet_time_it_begins_anew_and_failures_do_not_count() {
        let (mut repairs, start) = (Repairs::default(), Instant::now());
        for time in 0..5 {
            repairs.note(RepairKind::Setting, "x", Err("read-only"), start + SECOND * time);
        }
        assert_eq!(repairs.counts().shown()[RepairKind::Setting as usize].count, 0);
        let later = start + QUIET + SECOND * 5;
        assert!(repairs.is_due(RepairKind::Setting, "x", later));
        repairs.note(RepairKind::Setting, "x", Ok::<_, String>(()), later);
        assert!(!repairs.is_due(RepairKind::Setting, "x", later + SECOND / 2));
        assert!(repairs.is_due(RepairKind::Setting, "x", later + SECOND));
    }
}
