//! The admin listener: HTTP/1.1 over a unix socket that only its owner may open.

use std::{
    convert::Infallible,
    fs,
    future::pending,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _},
            net::UnixListener as StdUnixListener,
        },
    },
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    net::UnixListener,
    select,
    sync::Semaphore,
    task::JoinSet,
    time::{self, MissedTickBehavior},
};
use tracing::warn;

use super::{
    access::SocketAccess,
    error::AdminError,
    handover::AdminHandover,
    lock_file::LockFile,
    server::{self, Context},
    socket_path::{SocketPath, listen, lock, lock_path},
};

/// Connections at a time; more wait in the listen queue.
const MAX_CONNECTIONS: usize = 32;
/// Between looks at whether the socket is still in its place.
const LOOK: Duration = Duration::from_secs(1);
/// The pause after a failed accept, for example when there are no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The daemon's listening socket, open to its owner alone. Removed when dropped.
#[derive(Debug)]
pub struct AdminListener {
    listener: UnixListener,
    path: SocketPath,
}

impl AdminListener {
    /// Opens the socket at `path`, and replaces one that a crashed daemon left behind. Creates a
    /// missing directory.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Another daemon has it, something else is at the path, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, AdminError> {
        let lock = lock(path)?;
        let (listener, identity) = listen(path)?;
        let failed = |source| AdminError::Listen { path: path.to_owned(), source };
        let given = Arc::default();
        let path = SocketPath { path: path.to_owned(), identity, lock, given };
        let listener = Self { listener, path };
        listener.share().map_err(failed)?;
        Ok(listener)
    }

    /// The same with a socket and its lock that another process shares.
    ///
    /// # Errors
    ///
    /// It is not at this path any more.
    pub fn inherit(path: &Path, listener: OwnedFd, lock: OwnedFd) -> Result<Self, AdminError> {
        let open = || {
            let listener = StdUnixListener::from(listener);
            listener.set_nonblocking(true)?;
            let found = fs::symlink_metadata(path)?;
            Ok((UnixListener::from_std(listener)?, (found.dev(), found.ino())))
        };
        let (listener, identity) =
            open().map_err(|source| AdminError::Listen { path: path.to_owned(), source })?;
        let lock = LockFile::inherit(&lock_path(path), lock);
        let failed = |source| AdminError::Listen { path: path.to_owned(), source };
        let given = Arc::default();
        let path = SocketPath { path: path.to_owned(), identity, lock, given };
        // It is the other process's until this one serves.
        path.given.away.store(true, Ordering::Release);
        let listener = Self { listener, path };
        listener.share().map_err(failed)?;
        Ok(listener)
    }

    /// Returns the way to give the socket to another process.
    #[must_use]
    pub fn handover(&self) -> AdminHandover {
        AdminHandover(self.path.given.clone())
    }

    /// Notes the socket and its lock for another process.
    fn share(&self) -> io::Result<()> {
        let listener = self.listener.as_fd().try_clone_to_owned()?;
        let lock = self.path.lock.fd().try_clone_to_owned()?;
        *self.path.given.lock() = Some((listener, lock));
        Ok(())
    }

    /// Checks what would keep [`open`](Self::open) from the path. Another daemon is no reason: it
    /// may well run.
    ///
    /// # Errors
    ///
    /// Something else is at the path.
    pub fn examine(path: &Path) -> Result<(), AdminError> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                Err(AdminError::NoSocket(path.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Opens the socket again if somebody removed it or its directory: otherwise nobody could send
    /// a request until a restart. Returns whether that was so.
    fn reopen_if_removed(&mut self) -> Result<bool, AdminError> {
        if self.path.is_in_place() {
            return Ok(false);
        }
        let SocketPath { path, identity, lock: ours, .. } = &mut self.path;
        if !ours.is_in_place() {
            *ours = lock(path)?;
        }
        (self.listener, *identity) = listen(path)?;
        let failed = |source| AdminError::Listen { path: self.path.path.clone(), source };
        self.share().map_err(failed)?;
        Ok(true)
    }

    /// Lets those in whom `access` names, if that is another one than before.
    fn let_in(&self, access: &Arc<SocketAccess>, before: &mut Option<Arc<SocketAccess>>) {
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, access)) {
            return;
        }
        if let Err(error) = access.apply(&self.path.path) {
            warn!(%error, "cannot let others open the admin socket");
        }
        *before = Some(access.clone());
    }

    /// Answers requests until the future is dropped.
    pub async fn serve(mut self, context: Context) -> Infallible {
        let streams = context.streams.clone();
        let access = context.access.clone();
        let mut let_in = None;
        let (router, _) = server::routes(context);
        self.path.given.away.store(false, Ordering::Release);
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut look = time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lost = Lost::default();
        loop {
            self.let_in(&access.load_full(), &mut let_in);
            let permit = room.clone().acquire_owned().await;
            let accepted = select! {
                accepted = self.listener.accept() => accepted,
                () = self.path.given.news.notified() => break,
                _ = look.tick() => {
                    let reopened = self.reopen_if_removed();
                    if matches!(reopened, Ok(true)) {
                        let_in = None;
                    }
                    lost.tell(&self.path.path, reopened);
                    continue;
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = server::serve_connection(stream, router.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept on the admin socket");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        let given = self.path.given.clone();
        drop(self);
        given.released.notify_one();
        streams.end();
        while connections.join_next().await.is_some() {}
        given.ended.notify_one();
        pending().await
    }
}

/// What was logged of a socket that somebody removed.
#[derive(Default)]
struct Lost {
    /// Why it could not be opened again.
    told: Option<String>,
}

impl Lost {
    fn tell(&mut self, path: &Path, reopened: Result<bool, AdminError>) {
        let path = path.display();
        match reopened {
            Ok(opened) => {
                self.told = None;
                if opened {
                    warn!(%path, "the admin socket was removed: it is open again");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if self.told.as_ref() != Some(&error) {
                    warn!(%path, error, "the admin socket was removed, and cannot be opened again");
                }
                self.told = Some(error);
            }
        }
    }
}
