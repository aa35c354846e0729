//! Exhaustion of this host's own resources: descriptors, ports, memory. No server is at fault then.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The time between two messages about the same operation.
const BETWEEN: Duration = Duration::from_secs(10);

/// The cause of a failed socket operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// The peer, or the network.
    Peer,
    /// A resource of this host is exhausted, whichever the peer.
    Resource,
    /// This host has no route to the peer, or a rule of its own forbids it.
    Route,
}

impl FailureCause {
    /// Returns the cause of an error from creating, binding or connecting a socket.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(
                // No descriptor is left, in this process or on this host.
                libc::EMFILE | libc::ENFILE
                // No memory is left, or none for sockets.
                | libc::ENOBUFS | libc::ENOMEM
                // No local port is left, or no address.
                | libc::EADDRNOTAVAIL | libc::EADDRINUSE | libc::EAGAIN,
            ) => Self::Resource,
            Some(
                // Blackhole routes give EINVAL, prohibited ones EACCES.
                libc::ENETUNREACH | libc::ENETDOWN | libc::ENODEV | libc::EINVAL | libc::EACCES
                // A firewall or security module of this host. It may concern this server alone, and
                // last for ever.
                | libc::EPERM
                // The address family is disabled here.
                | libc::EAFNOSUPPORT,
            ) => Self::Route,
            _ => Self::Peer,
        }
    }
}

/// An operation that failed because a resource was exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedOperation {
    /// Clients had to wait to be accepted.
    Accept,
    /// A connection to a server could not be made.
    Dial,
    /// A check of a server could not be made.
    Check,
}

impl FailedOperation {
    pub const ALL: [Self; 3] = [Self::Accept, Self::Dial, Self::Check];

    /// Returns its name in `lb status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accepting_paused",
            Self::Dial => "connections_to_servers",
            Self::Check => "health_checks",
        }
    }
}

/// Counts failed operations, for all threads.
#[derive(Debug)]
pub struct ExhaustionCounters {
    began: Instant,
    tallies: [Tally; FailedOperation::ALL.len()],
}

#[derive(Debug, Default)]
struct Tally {
    count: AtomicU64,
    /// ms since the start, until which no message is logged.
    quiet: AtomicU64,
    unsaid: AtomicU64,
}

impl Default for ExhaustionCounters {
    fn default() -> Self {
        Self { began: Instant::now(), tallies: Default::default() }
    }
}

impl ExhaustionCounters {
    /// Counts a failed operation. If it should be logged, returns how many of its kind were not
    /// logged before it.
    pub fn note(&self, operation: FailedOperation) -> Option<u64> {
        self.note_at(operation, self.began.elapsed())
    }

    fn note_at(&self, operation: FailedOperation, now: Duration) -> Option<u64> {
        let tally = &self.tallies[operation as usize];
        tally.count.fetch_add(1, Ordering::Relaxed);
        let now = now.as_millis() as u64;
        let next = now + BETWEEN.as_millis() as u64;
        let admitted = tally.quiet.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |quiet| {
            (now >= quiet).then_some(next)
        });
        if admitted.is_err() {
            tally.unsaid.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(tally.unsaid.swap(0, Ordering::Relaxed))
    }

    #[must_use]
    pub fn count(&self, operation: FailedOperation) -> u64 {
        self.tallies[operation as usize].count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// k3s-io/k3s#10240, ozontech/pg_doorman#262: servers were taken out, or their connections cut,
    /// because the balancer itself lacked something.
    #[test]
    fn what_is_ours_is_not_the_peers() {
        use FailureCause::{Peer, Resource, Route};
        for (errno, cause) in [
            (libc::EMFILE, Resource),
            (libc::ENFILE, Resource),
            (libc::ENOBUFS, Resource),
            (libc::ENOMEM, Resource),
            (libc::EADDRNOTAVAIL, Resource),
            (libc::EAGAIN, Resource),
            (libc::ENETUNREACH, Route),
            (libc::EACCES, Route),
            (libc::EPERM, Route),
            (libc::EAFNOSUPPORT, Route),
            (libc::ECONNREFUSED, Peer),
            (libc::ECONNRESET, Peer),
            (libc::EHOSTUNREACH, Peer),
            (libc::ETIMEDOUT, Peer),
        ] {
            assert_eq!(FailureCause::of(&io::Error::from_raw_os_error(errno)), cause, "{errno}");
        }
        assert_eq!(FailureCause::of(&io::ErrorKind::TimedOut.into()), Peer);
    }

    #[test]
    fn each_kind_is_counted_and_has_a_budget_of_its_own() {
        let exhaustion = ExhaustionCounters::default();
        let told: Vec<_> = [0, 1, 9_999, 10_000, 10_001]
            .map(|ms| exhaustion.note_at(FailedOperation::Dial, Duration::from_millis(ms)))
            .into();
        assert_eq!(told, [Some(0), None, None, Some(2), None]);
        assert_eq!(exhaustion.note_at(FailedOperation::Check, Duration::from_secs(1)), Some(0));
        assert_eq!(FailedOperation::ALL.map(|operation| exhaustion.count(operation)), [0, 5, 1]);
    }
}
