//! Exclusive locks on files, and atomic writes.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// Locks `file` (flock(2)) for as long as it is open, crashes included. Returns `false` if another
/// process holds the lock.
///
/// # Errors
///
/// The system call failed.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Locks what `open` opens at `path`, even if the holder before removes it meanwhile. Returns
/// `None` if another process holds the lock. `failed` makes an error of an action ("locked") and
/// its cause.
///
/// # Errors
///
/// `open` or a system call failed.
pub fn lock_path<E>(
    path: &Path,
    open: impl Fn() -> Result<File, E>,
    failed: impl Fn(&'static str, io::Error) -> E,
) -> Result<Option<File>, E> {
    loop {
        let file = open()?;
        if !try_lock(&file).map_err(|error| failed("locked", error))? {
            return Ok(None);
        }
        // Between opening and locking, the holder before may have removed the file: then the lock
        // is on nothing that others can find.
        if is_at(&file, path).map_err(|error| failed("examined", error))? {
            return Ok(Some(file));
        }
    }
}

/// Returns whether `path` still leads to `file`.
///
/// # Errors
///
/// A system call failed.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// When the content of a replaced file must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the file is replaced: it outlives a crash of the host.
    Synced,
    /// Some time later: it outlives a crash of the process.
    Cached,
}

/// Writes `content` to a draft beside `path` and renames it, so that the file is replaced as a
/// whole or not at all. Creates the directory if it is missing.
///
/// # Errors
///
/// A system call failed, for example because the disk is full. There is no draft then.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let draft = path.with_extension("json.new");
    let write = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut file = File::create(&draft)?;
        file.write_all(content)?;
        if durability == Durability::Synced {
            file.sync_all()?;
        }
        fs::rename(&draft, path)?;
        match (durability, path.parent()) {
            (Durability::Synced, Some(directory)) => sync_directory(directory),
            _ => Ok(()),
        }
    };
    let written: io::Result<()> = write();
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Has the entries of a directory on disk: a file that was renamed or removed there stays so.
///
/// # Errors
///
/// A system call failed.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_lock_is_found_by_others_and_survives_a_removed_file() {
        let directory = directory("lock");
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("lock");
        let lock = || lock_path(&path, || File::create(&path), |_, error| error).expect("locked");
        let held = lock();
        assert!(held.is_some() && lock().is_none());
        fs::remove_file(&path).expect("removed");
        assert!(!is_at(held.as_ref().expect("held"), &path).expect("examined"));
        assert!(lock().is_some(), "another file");
        fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn a_file_is_replaced_with_its_directory() {
        let directory = directory("replace");
        let path = directory.join("down.json");
        for durability in [Durability::Synced, Durability::Cached] {
            replace(&path, b"[]", durability).expect("written");
            assert_eq!(fs::read(&path).expect("read"), b"[]");
        }
        assert_eq!(fs::read_dir(&directory).expect("listed").count(), 1, "no draft is left");
        fs::remove_dir_all(directory).expect("removed");
    }

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("lb-files-{name}-{}", std::process::id()))
    }
}
