//! What the service manager (systemd) is told: see sd_notify(3). Without one nothing happens.

use std::net::TcpListener;

use sd_notify::NotifyState;
use tracing::warn;

use crate::handover;

/// Says that the service is ready, and has the listening sockets kept over a crash.
pub(crate) fn ready(listeners: &[TcpListener]) {
    tell(&[NotifyState::Ready]);
    if let Err(error) = handover::store_listeners(listeners) {
        warn!(%error, "the service manager does not keep the listening sockets");
    }
}

/// Says that the service ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that another process is the service now.
pub(crate) fn replaced_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid), NotifyState::Ready]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "cannot tell the service manager");
    }
}
