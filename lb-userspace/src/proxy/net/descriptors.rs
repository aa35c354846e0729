//! Descriptors: how many clients' connections there may be, and how many are kept back.
//!
//! The kernel gives out the lowest free number, so a number tells how many are taken at least: what
//! has one from [`Descriptors::ceiling`] on is one too many, and nobody needs to count the others.

use std::{
    cell::Cell,
    io,
    net::TcpListener as StdListener,
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit};
use tokio::{sync::Notify, time::sleep};

use crate::exhaustion::{ExhaustionCounters, FailedOperation};

/// Between looks at whether there is room again.
const LOOK: Duration = Duration::from_millis(10);
/// What each worker has open for itself, and may open at the same time as others.
const WORKER: u64 = 6;

thread_local! {
    static CEILING: Cell<RawFd> = const { Cell::new(RawFd::MAX) };
}

/// What this thread opens beside connections is to have no number from `ceiling` on.
pub(crate) fn stay_below(ceiling: RawFd) {
    CEILING.set(ceiling);
}

/// Whether `descriptor` has none of those.
pub(crate) fn is_below_ceiling(descriptor: &impl AsRawFd) -> bool {
    descriptor.as_raw_fd() < CEILING.get()
}

/// Shared by all workers.
pub(crate) struct Descriptors {
    pub exhaustion: Arc<ExhaustionCounters>,
    /// Numbers from here on are for checks, the admin socket and files.
    pub ceiling: RawFd,
    /// How many there are.
    pub kept: u64,
    /// Connections of clients at a time. As many again are left for those to servers.
    most: u64,
    clients: AtomicU64,
    /// Somebody got a number that is kept back.
    is_short: AtomicBool,
    /// Somebody needs one that another worker has, perhaps.
    wanted: Notify,
}

impl Descriptors {
    /// `kept` of them are kept back, or half of what is free where that is less.
    pub(crate) fn measure(
        listener: &StdListener,
        workers: usize,
        kept: u64,
        exhaustion: Arc<ExhaustionCounters>,
    ) -> io::Result<Self> {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let limit = limit.min(RawFd::MAX as u64);
        let taken = lowest_free(listener)? as u64 + WORKER * workers as u64;
        let free = limit.saturating_sub(taken);
        let kept = kept.min(free / 2);
        let ceiling = limit - kept;
        let most = (ceiling.saturating_sub(taken) / 2).max(1);
        tracing::debug!(limit, taken, ceiling, most, "descriptors");
        let (clients, is_short) = (AtomicU64::new(0), AtomicBool::new(false));
        let (ceiling, wanted) = (ceiling as RawFd, Notify::new());
        Ok(Self { exhaustion, ceiling, kept, most, clients, is_short, wanted })
    }

    /// Waits until another client may be accepted.
    pub(crate) async fn room(&self, listener: &impl AsFd) {
        if self.has_room(listener) {
            return;
        }
        if let Some(others) = self.exhaustion.note(FailedOperation::Accept) {
            let (clients, most) = (self.clients.load(Ordering::Relaxed), self.most);
            tracing::warn!(
                clients,
                most,
                others,
                "clients wait to be accepted: too few descriptors are left (raise the limit of \
                 open files)"
            );
        }
        while !self.has_room(listener) {
            if self.is_short.load(Ordering::Relaxed) {
                self.wanted.notify_waiters();
            }
            sleep(LOOK).await;
        }
    }

    /// Asks `attempt` again when connections to servers that idle have made way, with all workers:
    /// to close them takes them a turn or two.
    pub(crate) async fn made_room<T>(&self, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
        const PAUSES: [u64; 5] = [0, 1, 2, 5, 10];
        self.wanted.notify_waiters();
        for pause in PAUSES {
            sleep(Duration::from_millis(pause)).await;
            if let Ok(made) = attempt() {
                return Ok(made);
            }
        }
        attempt()
    }

    /// Calls `close_idle` whenever somebody needs descriptors, for ever.
    pub(crate) async fn keep_giving(&self, close_idle: impl Fn()) {
        loop {
            self.wanted.notified().await;
            close_idle();
        }
    }

    pub(crate) fn has_room(&self, listener: &impl AsFd) -> bool {
        if self.is_short.load(Ordering::Relaxed) {
            let has = lowest_free(listener).is_ok_and(|number| number < self.ceiling);
            self.is_short.store(!has, Ordering::Relaxed);
            return has && self.clients.load(Ordering::Relaxed) < self.most;
        }
        self.clients.load(Ordering::Relaxed) < self.most
    }

    /// Counts a client's connection until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, client: &impl AsRawFd) -> ClientPlace {
        self.clients.fetch_add(1, Ordering::Relaxed);
        self.allows(client);
        ClientPlace(self.clone())
    }

    /// Whether this one is not among those that are kept back.
    pub(crate) fn allows(&self, descriptor: &impl AsRawFd) -> bool {
        let allowed = descriptor.as_raw_fd() < self.ceiling;
        if !allowed {
            self.is_short.store(true, Ordering::Relaxed);
        }
        allowed
    }
}

/// The number that the next one gets.
fn lowest_free(any: &impl AsFd) -> io::Result<RawFd> {
    any.as_fd().try_clone_to_owned().map(|copy| copy.as_raw_fd())
}

pub(crate) struct ClientPlace(Arc<Descriptors>);

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
