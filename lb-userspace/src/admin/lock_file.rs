//! A lock on a path that is held until its holder ends, crashes included.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use crate::files;

/// An exclusively locked file (flock(2)), which is removed with the lock.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    file: File,
    /// Another process goes on with it.
    forgotten: bool,
}

impl LockFile {
    /// `None`: another process has it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        let open = || File::options().write(true).create(true).truncate(false).open(path);
        let file = files::lock_path(path, open, |_, error| error)?;
        Ok(file.map(|file| Self { path: path.to_owned(), file, forgotten: false }))
    }

    /// Shares the lock of another process.
    pub(super) fn inherit(path: &Path, file: OwnedFd) -> Self {
        Self { path: path.to_owned(), file: file.into(), forgotten: false }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Leaves the file to another process that shares the lock.
    pub(super) fn forget(&mut self) {
        self.forgotten = true;
    }

    /// Returns whether others still find the lock: somebody may have removed the file.
    pub(super) fn is_in_place(&self) -> bool {
        files::is_at(&self.file, &self.path).unwrap_or(false)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Removed while still locked, so that it cannot be the file of another holder.
        if !self.forgotten && self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
