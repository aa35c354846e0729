//! The admin socket for the process that takes this one's place.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time};

/// What another process may be given.
#[derive(Debug, Default)]
pub(super) struct SharedSocket {
    /// The socket and its lock as they are now.
    pub shared: Mutex<Option<(OwnedFd, OwnedFd)>>,
    /// Another process has them.
    pub away: AtomicBool,
    pub news: Notify,
    /// Told when this process has let go of both.
    pub released: Notify,
    /// Told when the last connection has ended after that.
    pub ended: Notify,
}

/// Gives the socket to the process that takes this one's place.
#[derive(Clone, Debug)]
pub struct AdminHandover(pub(super) Arc<SharedSocket>);

impl SharedSocket {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<(OwnedFd, OwnedFd)>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdminHandover {
    /// Returns copies of the socket and of its lock.
    ///
    /// # Errors
    ///
    /// No file descriptor is left.
    pub fn descriptors(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let shared = self.0.lock();
        let (listener, lock) = shared.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok((listener.try_clone()?, lock.try_clone()?))
    }

    /// Leaves the socket and its path to the other process. Requests under way are still answered.
    pub async fn give_away(&self) {
        self.0.away.store(true, Ordering::Release);
        self.0.news.notify_one();
        self.0.released.notified().await;
        *self.0.lock() = None;
    }

    /// Returns when this process's connections have ended after that, or after `within`.
    pub async fn ended(self, within: Duration) {
        // Who still listens then, to a trace for example, is told by the end of the process.
        let _ = time::timeout(within, self.0.ended.notified()).await;
    }
}
