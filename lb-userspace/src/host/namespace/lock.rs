//! Locks the network namespace: one daemon may use it.

use std::{
    fs::File,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use crate::files;
use crate::host::error::HostError;

/// The lock on the calling thread's network namespace (flock(2) on its nsfs inode). It lasts as
/// long as its holder lives, crashes included, and leaves no file.
pub(crate) struct NamespaceLock {
    lock: File,
}

impl NamespaceLock {
    /// Shares the lock of another process.
    pub(crate) fn inherit(lock: OwnedFd) -> Self {
        Self { lock: lock.into() }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    pub(crate) fn take() -> Result<Self, HostError> {
        let path = Path::new("/proc/thread-self/ns/net");
        let file = File::open(path).map_err(|source| HostError::file("open", path, source))?;
        match files::try_lock(&file) {
            Ok(true) => Ok(Self { lock: file }),
            Ok(false) => Err(HostError::NamespaceTaken),
            Err(source) => Err(HostError::file("lock", path, source)),
        }
    }
}
