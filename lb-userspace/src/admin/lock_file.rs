//! A lock on a path that is held until its holder ends, crashes included.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// An exclusively locked file (flock(2)), which is removed with the lock.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    file: File,
}

impl LockFile {
    /// `None`: another process has it.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = File::options().write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Between opening and locking, the former holder may have removed the file: then others
            // cannot find what is locked.
            if is_at(&file, path)? {
                let path = path.to_owned();
                return Ok(Some(Self { path, file }));
            }
        }
    }
}

impl LockFile {
    /// Returns whether others still find the lock: somebody may have removed the file.
    pub(super) fn is_in_place(&self) -> bool {
        is_at(&self.file, &self.path).unwrap_or(false)
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Removed while still locked, so that it cannot be the file of another holder.
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
