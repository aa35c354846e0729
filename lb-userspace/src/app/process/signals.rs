//! Signals to the process.

use std::io;

use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
};

/// From `listen` on, none of these signals ends the process by itself.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user2: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalOrder {
    /// SIGTERM, or SIGINT by Ctrl-C.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR2.
    Upgrade,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    pub(crate) async fn order(&mut self) -> SignalOrder {
        select! {
            _ = self.terminate.recv() => SignalOrder::Stop,
            _ = self.interrupt.recv() => SignalOrder::Stop,
            _ = self.hangup.recv() => SignalOrder::Reload,
            _ = self.user2.recv() => SignalOrder::Upgrade,
        }
    }

    /// Returns when the next signal to stop comes.
    pub(crate) async fn stop(&mut self) {
        while self.order().await != SignalOrder::Stop {}
    }
}
