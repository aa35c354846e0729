//! How connections learn that it is time to go, and how their worker learns that they have gone.

use std::{cell::Cell, rc::Rc};

use tokio::sync::Notify;

/// What the workers are told, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// No new connections, and those that wait in the queues are another process's; those that are
    /// here end at their next good moment.
    HandedOver,
    /// No new connections; those that are here end at their next good moment.
    Draining,
    /// What is left is cut off.
    Cut,
}

/// For the connections of a worker that came to one address and port.
#[derive(Default)]
pub(crate) struct DrainSignal {
    draining: Cell<Option<DrainManner>>,
    begun: Notify,
}

/// How connections go that nothing is under way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainManner {
    /// They are closed: the process ends, and nobody takes what they send.
    AtOnce,
    /// They are told with their next response, so that no request is lost that crosses the end.
    /// Only those that say nothing for long are closed.
    Gently,
}

impl DrainSignal {
    pub(crate) fn begin(&self, manner: DrainManner) {
        if self.draining.get() != Some(DrainManner::AtOnce) {
            self.draining.set(Some(manner));
        }
        self.begun.notify_waiters();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.draining.get().is_some()
    }

    /// Returns when draining has begun.
    pub(crate) async fn begun(&self) -> DrainManner {
        loop {
            let begun = self.begun.notified();
            match self.draining.get() {
                Some(manner) => return manner,
                None => begun.await,
            }
        }
    }

    /// Returns when connections are to go at once.
    pub(crate) async fn hurried(&self) {
        loop {
            let begun = self.begun.notified();
            if self.draining.get() == Some(DrainManner::AtOnce) {
                return;
            }
            begun.await;
        }
    }
}

/// The live connections of a worker.
#[derive(Default)]
pub(crate) struct LiveCount {
    live: Cell<usize>,
    emptied: Notify,
}

impl LiveCount {
    /// Counts a connection until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Live {
        self.live.set(self.live.get() + 1);
        Live(self.clone())
    }

    /// Connections that are left.
    pub(crate) fn live(&self) -> usize {
        self.live.get()
    }

    /// Returns when no connection is left.
    pub(crate) async fn emptied(&self) {
        while self.live.get() > 0 {
            self.emptied.notified().await;
        }
    }
}

pub(crate) struct Live(Rc<LiveCount>);

impl Drop for Live {
    fn drop(&mut self) {
        let left = self.0.live.get() - 1;
        self.0.live.set(left);
        if left == 0 {
            self.0.emptied.notify_one();
        }
    }
}
