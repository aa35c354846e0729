//! Listening sockets that the service manager kept over a crash.

use std::{io, net::TcpListener, os::fd::AsFd as _};

use sd_notify::NotifyState;

use super::descriptor;

/// The name of each of them there.
const NAME: &str = "lb-listener";

/// Has the service manager keep `listeners`: clients that come while no process runs wait in their
/// queues instead of being refused. Without one nothing happens.
///
/// # Errors
///
/// The service manager cannot be told.
pub fn store_listeners(listeners: &[TcpListener]) -> io::Result<()> {
    let sockets: Vec<_> = listeners.iter().map(TcpListener::as_fd).collect();
    sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(NAME)], &sockets)
}

/// Returns the sockets that the service manager kept. Call it once, before anything else opens
/// files.
///
/// # Errors
///
/// What it says makes no sense.
pub fn stored_listeners() -> io::Result<Vec<TcpListener>> {
    let kept = sd_notify::listen_fds_with_names()?;
    let mut listeners = Vec::new();
    for (fd, name) in kept {
        let descriptor = descriptor::take(fd)?;
        if name == NAME {
            listeners.push(TcpListener::from(descriptor));
        }
    }
    Ok(listeners)
}
