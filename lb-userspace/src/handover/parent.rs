//! The old process: starts the new one and steps back for it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use nix::unistd::dup;
use serde::Serialize;
use tokio::{net::UnixStream, time::timeout};

use super::message::{
    Channel, FromNew, FromOld, HandoverState, Invitation, ServiceTotals, VARIABLE, VERSION,
};

/// Loading the programs waits for the kernel's verifier, and that of Linux 6.1 is slow.
const PREPARING: Duration = Duration::from_secs(300);
/// From `commit` to `serving`.
const TAKING_OVER: Duration = Duration::from_secs(60);

/// Why the new process did not take over.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("cannot start {path}: {source}")]
    Start { path: String, source: io::Error },
    #[error("the new process refuses: {0}")]
    Refused(String),
    #[error("the new process ended before it served ({0}): its log says why")]
    Ended(String),
    #[error("the new process did not {0} within {1:?}, and was killed")]
    Slow(&'static str, Duration),
    #[error("cannot talk to the new process: {0}")]
    Channel(#[from] io::Error),
}

/// A new process that does not serve yet. It is killed when dropped, unless it has taken over.
pub struct OldProcess {
    child: Child,
    channel: Channel,
    serves: bool,
}

impl OldProcess {
    /// Starts `program` with `arguments` and gives it `descriptors`, by name, and the proxy's
    /// `listeners`. It is told of the `generations` of processes that live.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(
        program: &Path,
        arguments: &[OsString],
        descriptors: &[(&str, BorrowedFd<'_>)],
        listeners: &[impl AsFd],
        generations: &impl Serialize,
    ) -> Result<Self, Refusal> {
        let start = || {
            let (ours, theirs) = StdUnixStream::pair()?;
            ours.set_nonblocking(true)?;
            // Copies without close-on-exec: the child has them by their numbers.
            let copy = |fd: BorrowedFd<'_>| dup(fd).map_err(io::Error::from);
            let control = copy(theirs.as_fd())?;
            let copied = descriptors.iter().map(|(name, fd)| Ok(((*name).to_owned(), copy(*fd)?)));
            let copied: BTreeMap<String, OwnedFd> = copied.collect::<io::Result<_>>()?;
            let listeners = listeners.iter().map(|listener| copy(listener.as_fd()));
            let listeners: Vec<OwnedFd> = listeners.collect::<io::Result<_>>()?;
            let invitation = Invitation {
                version: VERSION,
                parent: std::process::id(),
                control: control.as_raw_fd(),
                descriptors: copied
                    .iter()
                    .map(|(name, fd)| (name.clone(), fd.as_raw_fd()))
                    .collect(),
                listeners: listeners.iter().map(AsRawFd::as_raw_fd).collect(),
                generations: serde_json::to_value(generations)?,
            };
            let mut command = Command::new(program);
            command.args(arguments).env(VARIABLE, serde_json::to_string(&invitation)?);
            let child = command.spawn()?;
            Ok((child, UnixStream::from_std(ours)?))
        };
        let (child, stream) = start().map_err(|source| {
            let path = program.display().to_string();
            Refusal::Start { path, source }
        })?;
        Ok(Self { child, channel: Channel::new(stream), serves: false })
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the new process could take over.
    ///
    /// # Errors
    ///
    /// It refuses, has ended, or takes too long.
    pub async fn prepared(&mut self) -> Result<(), Refusal> {
        match self.expect("prepare", PREPARING).await? {
            FromNew::Prepared => Ok(()),
            FromNew::Failed { why } => Err(Refusal::Refused(why)),
            FromNew::Serving => Err(Refusal::Refused("it serves unasked".to_owned())),
        }
    }

    /// Has the new process take over, and returns when it serves. From the call on, this process
    /// must change nothing that the other one may.
    ///
    /// # Errors
    ///
    /// It could not: it is gone, and may have changed things.
    pub async fn commit(&mut self, state: HandoverState) -> Result<(), Refusal> {
        self.channel.send(&FromOld::Commit(Box::new(state))).await?;
        match self.expect("take over", TAKING_OVER).await? {
            FromNew::Serving => {
                self.serves = true;
                Ok(())
            }
            FromNew::Failed { why } => Err(Refusal::Refused(why)),
            FromNew::Prepared => Err(Refusal::Refused("it prepares twice".to_owned())),
        }
    }

    /// Tells the new process, which serves, what was counted here meanwhile.
    pub async fn add(&mut self, totals: Vec<ServiceTotals>) {
        // If it has ended, nobody counts.
        let _ = self.channel.send(&FromOld::Totals(totals)).await;
    }

    /// Ends the new process, if it does not serve.
    pub fn end(&mut self) {
        if !self.serves {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    async fn expect(&mut self, what: &'static str, within: Duration) -> Result<FromNew, Refusal> {
        match timeout(within, self.channel.receive()).await {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) => {
                // It closed its end: it has ended, or will be made to.
                let _ = self.child.kill();
                let ended = self.child.wait().map_or_else(|it| it.to_string(), |it| it.to_string());
                Err(Refusal::Ended(ended))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Refusal::Slow(what, within)),
        }
    }
}

impl Drop for OldProcess {
    fn drop(&mut self) {
        self.end();
    }
}
