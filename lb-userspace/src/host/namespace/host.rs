//! The daemon's network namespace, with everything that the daemon changed there.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use tracing::warn;

use super::{lock::NamespaceLock, undo_journal::UndoJournal};
use crate::host::{
    error::HostError, neighbours::next_hops::NextHops, netlink::connection::Netlink,
};

/// The daemon's network namespace, with everything that the daemon changed there.
///
/// The changes outlive the daemon, as the data path does, which cannot forward without them: the
/// next [`open`](Self::open) finds them by their mark and in the journal, and takes them over.
/// [`close`](Self::close) undoes them.
pub struct Host {
    pub(crate) netlink: Netlink,
    pub(crate) journal: UndoJournal,
    pub(crate) loopback: u32,
    /// Addresses with a local route of ours.
    pub(crate) announced: BTreeSet<IpAddr>,
    /// Addresses that must be local, by any route.
    pub(crate) wanted: BTreeSet<IpAddr>,
    /// Interfaces that must forward.
    pub(crate) forwarding: Vec<String>,
    pub(crate) neighbours: NextHops,
    /// Announced addresses with proxy entries for neighbour discovery, by interface.
    pub(crate) proxies: BTreeSet<(u32, Ipv6Addr)>,
    territory: NamespaceLock,
}

/// The locks that make a process the only one in its namespace and state directory.
pub struct HostLocks {
    pub namespace: OwnedFd,
    pub state_dir: OwnedFd,
}

impl Host {
    /// Takes over the state directory and the network namespace of the calling thread, with the
    /// changes of an earlier daemon. Call this in a tokio runtime.
    ///
    /// The marks do not distinguish daemons, so there is one daemon per namespace, whatever its
    /// interfaces: whatever carries our mark is its predecessor's.
    ///
    /// # Errors
    ///
    /// Another daemon holds the state directory or the namespace; no privilege; the kernel does not
    /// answer.
    pub async fn open(state_dir: &Path) -> Result<Self, HostError> {
        let territory = NamespaceLock::take()?;
        let journal = UndoJournal::open(state_dir, None)?;
        Self::resume(territory, journal).await
    }

    /// The same with the locks of a process whose place is taken.
    ///
    /// # Errors
    ///
    /// As of [`open`](Self::open).
    pub async fn inherit(state_dir: &Path, locks: HostLocks) -> Result<Self, HostError> {
        let territory = NamespaceLock::inherit(locks.namespace);
        let journal = UndoJournal::open(state_dir, Some(locks.state_dir))?;
        Self::resume(territory, journal).await
    }

    async fn resume(territory: NamespaceLock, mut journal: UndoJournal) -> Result<Self, HostError> {
        let netlink = Netlink::open()?;
        let announced = netlink.marked_addresses().await?;
        let neighbours = NextHops::resume(&netlink).await?;
        let proxies = netlink.proxies().await?;
        journal.begin(!announced.is_empty() || neighbours.ours().next().is_some());
        let mut host = Self {
            netlink,
            journal,
            loopback: 0,
            announced,
            wanted: BTreeSet::new(),
            forwarding: Vec::new(),
            neighbours,
            proxies,
            territory,
        };
        host.loopback = host.find_interfaces(["lo"]).await?[0].index;
        Ok(host)
    }

    /// Returns the locks on the namespace and on the state directory.
    #[must_use]
    pub fn locks(&self) -> [BorrowedFd<'_>; 2] {
        [self.territory.fd(), self.journal.lock()]
    }

    /// Writes the undo journal if it could not be written before, or is gone.
    pub fn save_journal(&mut self) {
        self.journal.keep();
    }

    /// Undoes all changes. Each step is tried, even if others fail.
    ///
    /// # Errors
    ///
    /// The first error; later ones are logged.
    pub async fn close(mut self) -> Result<UndoneChanges, HostError> {
        let undone = UndoneChanges {
            routes: self.announced.clone(),
            neighbours: self.neighbours.ours().collect(),
            settings: self.journal.changed().map(str::to_owned).collect(),
            unclear: self.journal.unclear().clone(),
        };
        let steps = [
            self.announce(&BTreeSet::new()).await,
            self.neighbours.forget_all(&self.netlink).await,
            self.remove_proxies().await,
            self.journal.undo(),
        ];
        let mut failed = steps.into_iter().filter_map(Result::err);
        let first = failed.next();
        for error in failed {
            warn!(%error, "cannot undo all changes of the host");
        }
        first.map_or(Ok(undone), Err)
    }
}

/// The changes that were undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UndoneChanges {
    /// Announced addresses that our local routes made local.
    pub routes: BTreeSet<IpAddr>,
    /// Next hops that were kept resolved.
    pub neighbours: BTreeSet<IpAddr>,
    /// Sysctls, as paths below /proc/sys.
    pub settings: BTreeSet<String>,
    /// Sysctls that were left as they are, because the notes on their earlier values, or on who set
    /// them, are lost.
    pub unclear: BTreeSet<String>,
}
