//! Decides which neighbour entries need confirmation.
//!
//! `bpf_fib_lookup` uses stale entries, and packets sent by XDP do not make the kernel confirm
//! them: if the MAC address of a client or router has changed, packets would go to the old one
//! until the entry happens to be renewed. So the neighbour is probed by unicast as soon as its
//! entry is stale and, without an answer, by multicast or broadcast.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::host::netlink::neighbour::{Neighbour, NeighbourEntry, State};

/// How long a neighbour may take to answer.
const ANSWER: Duration = Duration::from_millis(500);
/// How old the last confirmation of a busy neighbour may be. The kernel by itself waits for 15 to
/// 45 s (`base_reachable_time`).
const TRUST: Duration = Duration::from_secs(10);
/// Neighbours that are probed per look.
const AT_ONCE: usize = 64;
/// When a neighbour that never answered is forgotten; a new entry starts afresh.
const FORGET: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfirmStep {
    /// Probe the neighbour by unicast.
    ProbeUnicast,
    /// Probe by multicast or broadcast, because it did not answer.
    ProbeAll,
    /// Resolve it again: the kernel has given up.
    Resolve,
}

#[derive(Default)]
pub(crate) struct NeighbourConfirmation {
    /// Interfaces with networks that may contain clients.
    links: BTreeSet<u32>,
    probed: BTreeMap<Neighbour, Probed>,
    /// When to look again.
    due: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Probed {
    at: Instant,
    by_multicast: bool,
}

impl NeighbourConfirmation {
    pub(crate) fn watch(&mut self, links: BTreeSet<u32>) {
        self.links = links;
    }

    /// Returns what to do now. `is_busy` returns whether packets go there all the time.
    pub(crate) fn steps(
        &mut self,
        entries: &BTreeMap<Neighbour, NeighbourEntry>,
        is_busy: impl Fn(&Neighbour) -> bool,
        now: Instant,
    ) -> Vec<(Neighbour, NeighbourEntry, ConfirmStep)> {
        self.probed.retain(|hop, probed| entries.contains_key(hop) && now < probed.at + FORGET);
        let (mut steps, mut aged) = (Vec::new(), Vec::new());
        for (&hop, &entry) in entries {
            let busy = is_busy(&hop);
            let others = entry.managed && !entry.ours;
            if others || !(busy || self.links.contains(&hop.interface)) {
                continue;
            }
            let probed = self.probed.get(&hop).filter(|probed| !probed.by_multicast);
            match entry.state {
                State::Stale => steps.push((hop, entry, ConfirmStep::ProbeUnicast)),
                State::Reachable => {
                    self.probed.remove(&hop);
                    if busy && entry.confirmed > TRUST {
                        aged.push((hop, entry, ConfirmStep::ProbeUnicast));
                    }
                }
                State::Probe if probed.is_some_and(|probed| now >= probed.at + ANSWER) => {
                    steps.push((hop, entry, ConfirmStep::ProbeAll));
                }
                State::Unknown if probed.is_some() => {
                    steps.push((hop, entry, ConfirmStep::Resolve));
                }
                State::Unknown | State::Incomplete | State::Probe | State::Permanent => {}
            }
        }
        steps.append(&mut aged);
        let more = (steps.len() > AT_ONCE).then(|| now + ANSWER);
        steps.truncate(AT_ONCE);
        for (hop, _, step) in &steps {
            let by_multicast = *step != ConfirmStep::ProbeUnicast;
            self.probed.insert(*hop, Probed { at: now, by_multicast });
        }
        // One whose time is up, and for which no step is due, is left to the kernel.
        let waiting = self.probed.values().filter(|probed| !probed.by_multicast);
        let ends = waiting.map(|probed| probed.at + ANSWER).filter(|&end| end > now);
        self.due = ends.chain(more).min();
        steps
    }

    /// Returns when to look again, even if the kernel reports no change.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due
    }

    /// Returns whether that is now, once for each time.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn hop(interface: u32, host: u8) -> Neighbour {
        Neighbour { interface, address: IpAddr::from([10, 0, 0, host]) }
    }

    fn entry(state: State) -> NeighbourEntry {
        NeighbourEntry { state, ..NeighbourEntry::default() }
    }

    fn watching() -> NeighbourConfirmation {
        let mut confirmation = NeighbourConfirmation::default();
        confirmation.watch([1].into());
        confirmation
    }

    fn step(
        confirmation: &mut NeighbourConfirmation,
        hop: Neighbour,
        entry: NeighbourEntry,
        busy: bool,
        now: Instant,
    ) -> Option<ConfirmStep> {
        let steps = confirmation.steps(&[(hop, entry)].into(), |_| busy, now);
        steps.first().map(|(.., step)| *step)
    }

    #[test]
    fn a_stale_one_is_asked_then_everybody_then_it_is_let_be() {
        let (mut confirmation, start) = (watching(), Instant::now());
        let mut at = |state, millis| {
            let now = start + Duration::from_millis(millis);
            let step = step(&mut confirmation, hop(1, 2), entry(state), false, now);
            (step, confirmation.next().is_some())
        };
        assert_eq!(at(State::Stale, 0), (Some(ConfirmStep::ProbeUnicast), true));
        assert_eq!(at(State::Probe, 499), (None, true), "it may still answer");
        assert_eq!(at(State::Probe, 500), (Some(ConfirmStep::ProbeAll), false));
        assert_eq!(at(State::Incomplete, 501), (None, false));
        assert_eq!(at(State::Unknown, 4000), (None, false), "nobody answers");
        assert_eq!(
            at(State::Stale, 5000),
            (Some(ConfirmStep::ProbeUnicast), true),
            "it came again"
        );
        assert_eq!(at(State::Reachable, 5001), (None, false));
        assert_eq!(at(State::Stale, 9000), (Some(ConfirmStep::ProbeUnicast), true));
        assert_eq!(
            at(State::Unknown, 9100),
            (Some(ConfirmStep::Resolve), false),
            "the kernel was faster"
        );
    }

    /// Where the time that an answer may take is over and nothing is to be done, there is nothing
    /// to wait for either: the daemon would look again and again, without a pause.
    #[test]
    fn who_is_no_longer_ours_to_ask_is_not_waited_for() {
        let start = Instant::now();
        let managed = NeighbourEntry { managed: true, ..entry(State::Probe) };
        for (now_is, busy) in [
            (entry(State::Incomplete), true),
            (entry(State::Permanent), true),
            (managed, true),
            (entry(State::Probe), false),
        ] {
            let mut confirmation = NeighbourConfirmation::default();
            let first = step(&mut confirmation, hop(2, 2), entry(State::Stale), true, start);
            assert_eq!(first, Some(ConfirmStep::ProbeUnicast));
            assert!(!confirmation.take_due(start));
            assert!(confirmation.take_due(start + ANSWER));
            assert_eq!(step(&mut confirmation, hop(2, 2), now_is, busy, start + ANSWER), None);
            assert_eq!(confirmation.next(), None, "{now_is:?}");
        }
    }

    #[test]
    fn only_what_packets_go_to_is_asked_and_only_where_it_is_ours_to_ask() {
        let now = Instant::now();
        let doubtful = entry(State::Stale);
        let ask = |hop, entry, busy| step(&mut watching(), hop, entry, busy, now);
        assert_eq!(ask(hop(1, 2), doubtful, false), Some(ConfirmStep::ProbeUnicast));
        assert_eq!(ask(hop(2, 2), doubtful, false), None, "another interface");
        assert_eq!(ask(hop(2, 2), doubtful, true), Some(ConfirmStep::ProbeUnicast));
        let managed = NeighbourEntry { managed: true, ..doubtful };
        assert_eq!(ask(hop(1, 2), managed, true), None, "another daemon's");
        assert_eq!(
            ask(hop(1, 2), NeighbourEntry { ours: true, ..managed }, true),
            Some(ConfirmStep::ProbeUnicast)
        );
        assert_eq!(ask(hop(1, 2), entry(State::Permanent), true), None, "an administrator's");
        let old = NeighbourEntry { confirmed: TRUST * 2, ..entry(State::Reachable) };
        assert_eq!(ask(hop(1, 2), old, false), None, "it gets stale in time");
        assert_eq!(ask(hop(1, 2), old, true), Some(ConfirmStep::ProbeUnicast));
        assert_eq!(ask(hop(1, 2), entry(State::Reachable), true), None, "just heard of");
        assert_eq!(ask(hop(1, 2), entry(State::Probe), true), None, "asked by the kernel");
    }

    #[test]
    fn many_are_asked_bit_by_bit() {
        let (mut confirmation, now) = (watching(), Instant::now());
        let mut entries: BTreeMap<_, _> =
            (0..=AT_ONCE as u8).map(|host| (hop(1, host), entry(State::Stale))).collect();
        let first = confirmation.steps(&entries, |_| false, now);
        assert_eq!(first.len(), AT_ONCE);
        for (hop, ..) in first {
            entries.insert(hop, entry(State::Reachable));
        }
        assert!(confirmation.next().is_some());
        assert_eq!(confirmation.steps(&entries, |_| false, now).len(), 1);
    }
}
