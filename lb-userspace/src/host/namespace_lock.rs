//! Locks the network namespace: one daemon may use it.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::error::HostError;

/// The lock on the calling thread's network namespace (flock(2) on its nsfs inode). It lasts as
/// long as its holder lives, crashes included, and leaves no file.
pub(crate) struct NamespaceLock {
    _lock: File,
}

impl NamespaceLock {
    pub(crate) fn take() -> Result<Self, HostError> {
        let path = Path::new("/proc/thread-self/ns/net");
        let file = File::open(path).map_err(|source| HostError::file("open", path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _lock: file }),
            Err(TryLockError::WouldBlock) => Err(HostError::NamespaceTaken),
            Err(TryLockError::Error(source)) => Err(HostError::file("lock", path, source)),
        }
    }
}
