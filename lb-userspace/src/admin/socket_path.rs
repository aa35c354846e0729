//! A listening socket at a path, which only its owner may open.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use super::{error::AdminError, handover::SharedSocket, lock_file::LockFile};

const BACKLOG: i32 = 64;

/// The path of a socket. Its lock is released after it.
#[derive(Debug)]
pub(super) struct SocketPath {
    pub path: PathBuf,
    /// Device and inode of the socket.
    pub identity: (u64, u64),
    pub lock: LockFile,
    pub given: Arc<SharedSocket>,
}

/// Locks a path. Creates a missing directory.
pub(super) fn lock(path: &Path) -> Result<LockFile, AdminError> {
    let failed = |source| AdminError::Listen { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let lock = LockFile::take(&lock_path(path)).map_err(failed)?;
    lock.ok_or_else(|| AdminError::Running(path.to_owned()))
}

pub(super) fn lock_path(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}

/// Opens the socket. The caller holds the lock. Device and inode of the socket come with it.
pub(super) fn listen(path: &Path) -> Result<(UnixListener, (u64, u64)), AdminError> {
    remove_stale(path)?;
    let listen = || {
        let listener = bind(path)?;
        let found = fs::symlink_metadata(path)?;
        Ok((listener, (found.dev(), found.ino())))
    };
    listen().map_err(|source| AdminError::Listen { path: path.to_owned(), source })
}

/// Removes a stale socket. The holder of the lock may remove it only if nobody serves it: another
/// program may not know of locks.
fn remove_stale(path: &Path) -> Result<(), AdminError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() && is_served(path) => {
            return Err(AdminError::Occupied(path.to_owned()));
        }
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => return Err(AdminError::NoSocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|source| AdminError::Listen { path: path.to_owned(), source })
}

/// Returns whether anybody listens at the path: a stale socket refuses. A listener with a full
/// queue counts and is not waited for.
fn is_served(path: &Path) -> bool {
    let attempt = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    !attempt().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Binds the socket. It listens only after its permissions are set, so nobody can connect before.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    UnixListener::from_std(socket.into())
}

impl SocketPath {
    /// Returns whether clients find our socket at its path.
    pub(super) fn is_in_place(&self) -> bool {
        let found = fs::symlink_metadata(&self.path);
        found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if self.given.away.load(Ordering::Acquire) {
            self.lock.forget();
        } else if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
