//! The directory in a bpffs where the data path is pinned, so that it outlives the daemon.
//!
//! ```text
//! /sys/fs/bpf/lb/            [node] pin_dir, locked while a daemon runs
//!   vN/FLOWS …               the maps of ABI version N
//!   links/xdp-native-3       the program on interface 3, in native mode
//!   links/sk-lookup          the proxy's listeners
//! ```
//!
//! Links are beside the versions: they hold a program of whatever version, and a change of versions
//! must not interrupt them. Names in a bpffs cannot contain dots.

use std::{
    ffi::CString,
    fs::{self, File, TryLockError},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use lb_common::abi::ABI_VERSION;
use tracing::{info, warn};

use crate::datapath::bpf::{
    error::DatapathError,
    ifindex::interface_name,
    link::{self, AttachMode, Link, LinkTarget},
};
use crate::files;

/// The conventional mount point of the bpffs.
const BPFFS: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` in linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
const LINKS: &str = "links";
const LISTENERS: &str = "sk-lookup";

/// The directory, locked by this process.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    lock: File,
}

/// A program on an interface, pinned by an earlier daemon.
pub(crate) struct PinnedXdp {
    /// The interface index; 0 if it is gone.
    pub(crate) index: u32,
    pub(crate) mode: AttachMode,
    pub(crate) link: Link,
    pub(crate) path: PathBuf,
}

impl Pins {
    /// Locks the directory; creates it and mounts the bpffs if they are missing.
    ///
    /// # Errors
    ///
    /// Another daemon holds it, it is not on a bpffs, or the data path in it belongs to another
    /// network namespace.
    pub fn open(root: &Path) -> Result<Self, DatapathError> {
        let pins = Self { root: root.to_owned(), lock: take(root)? };
        pins.check_namespace()?;
        Ok(pins)
    }

    /// The same with a `lock` that another process holds and shares.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); the lock is not on this directory.
    pub fn inherit(root: &Path, lock: OwnedFd) -> Result<Self, DatapathError> {
        let pins = Self { root: root.to_owned(), lock: File::from(lock) };
        let is_ours = files::is_at(&pins.lock, root)
            .map_err(|source| DatapathError::pins("examined", root, source))?;
        if !is_ours {
            return Err(DatapathError::PinsTaken { path: root.to_owned() });
        }
        pins.check_namespace()?;
        Ok(pins)
    }

    /// Creates the directory again if it or its bpffs is gone.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub(crate) fn renew(&mut self) -> Result<(), DatapathError> {
        let is_ours = files::is_at(&self.lock, &self.root)
            .map_err(|source| DatapathError::pins("examined", &self.root, source))?;
        if !is_ours {
            self.lock = take(&self.root)?;
        }
        Ok(())
    }

    /// Checks whether [`open`](Self::open) could succeed, apart from another daemon, which may be
    /// running.
    ///
    /// # Errors
    ///
    /// It is not on a bpffs, and none can be mounted there.
    pub fn examine(root: &Path) -> Result<(), DatapathError> {
        is_on_bpffs(root).map(drop)
    }

    /// Returns whether a daemon holds the directory.
    #[must_use]
    pub fn are_held(root: &Path) -> bool {
        let lock = File::open(root).map(|root| root.try_lock_shared());
        matches!(lock, Ok(Err(TryLockError::WouldBlock)))
    }

    /// Returns the lock, which lasts as long as any process has it open.
    #[must_use]
    pub fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Interfaces are stored by index, which means another one in another namespace.
    fn check_namespace(&self) -> Result<(), DatapathError> {
        let Ok(Some(link)) = self.listeners() else {
            return Ok(());
        };
        let here = namespace_inode().map_err(DatapathError::Listener)?;
        match link.target().map_err(DatapathError::Listener)? {
            LinkTarget::Namespace(inode) if inode != 0 && u64::from(inode) != here => {
                Err(DatapathError::PinsElsewhere { path: self.root.clone(), inode })
            }
            _ => Ok(()),
        }
    }

    /// Returns the directory for the maps of this ABI version.
    pub(crate) fn maps(&self) -> PathBuf {
        self.root.join(format!("v{ABI_VERSION}"))
    }

    /// Returns the ABI versions of other builds with maps here.
    pub(crate) fn other_versions(&self) -> Vec<u32> {
        let versions = names(&self.root);
        let versions = versions.iter().filter_map(|name| name.strip_prefix('v')?.parse().ok());
        versions.filter(|&version| version != ABI_VERSION).collect()
    }

    /// Pins `map` under `name`, atomically replacing what was there.
    pub(crate) fn pin_map(&self, name: &str, map: BorrowedFd<'_>) -> Result<(), DatapathError> {
        let (path, draft) = (self.maps().join(name), self.maps().join(format!("{name}-new")));
        let pin = || {
            remove_if_there(&draft)?;
            link::pin(map, &draft)?;
            fs::rename(&draft, &path)
        };
        fs::create_dir_all(self.maps())
            .and_then(|()| pin())
            .map_err(|source| DatapathError::pins("pinned", &path, source))
    }

    pub(crate) fn pin_listeners(&self, link: &Link) -> Result<(), DatapathError> {
        self.pin_link(link, LISTENERS).map(drop)
    }

    pub(crate) fn pin_xdp(
        &self,
        link: &Link,
        mode: AttachMode,
        index: u32,
    ) -> Result<PathBuf, DatapathError> {
        self.pin_link(link, &format!("xdp-{}-{index}", mode.name()))
    }

    fn pin_link(&self, link: &Link, name: &str) -> Result<PathBuf, DatapathError> {
        let links = self.root.join(LINKS);
        let path = links.join(name);
        fs::create_dir_all(&links)
            .and_then(|()| remove_if_there(&path))
            .and_then(|()| link.pin(&path))
            .map_err(|source| DatapathError::pins("pinned", &path, source))?;
        Ok(path)
    }

    pub(crate) fn listeners_path(&self) -> PathBuf {
        self.root.join(LINKS).join(LISTENERS)
    }

    /// Opens the link of `sk_lookup`; `None` if there is none.
    pub(crate) fn listeners(&self) -> io::Result<Option<Link>> {
        match Link::open(&self.listeners_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            link => link.map(Some),
        }
    }

    /// Returns every pinned XDP link.
    pub(crate) fn xdp(&self) -> Vec<PinnedXdp> {
        let links = self.root.join(LINKS);
        let read = |name: &String| {
            let rest = name.strip_prefix("xdp-")?;
            let mode = AttachMode::ALL.into_iter().find(|mode| rest.starts_with(mode.name()))?;
            let path = links.join(name);
            let link = Link::open(&path).ok()?;
            let Ok(LinkTarget::Interface(index)) = link.target() else {
                return None;
            };
            Some(PinnedXdp { index, mode, link, path })
        };
        names(&links).iter().filter_map(read).collect()
    }

    /// Removes maps that this version does not have, and those of other versions. Nothing that is
    /// attached uses them any more.
    pub(crate) fn remove_others(&self, ours: &[&str]) {
        for version in self.other_versions() {
            let path = self.root.join(format!("v{version}"));
            match fs::remove_dir_all(&path) {
                Ok(()) => info!(path = %path.display(), "removed the maps of another version"),
                Err(error) => warn!(path = %path.display(), %error, "cannot remove old maps"),
            }
        }
        let maps = self.maps();
        for name in names(&maps).iter().filter(|name| !ours.contains(&name.as_str())) {
            match fs::remove_file(maps.join(name)) {
                Ok(()) => info!(name, "removed a map that this version does not use"),
                Err(error) => warn!(name, %error, "cannot remove an old map"),
            }
        }
    }

    /// Removes everything: programs from their interfaces first, then the maps.
    ///
    /// # Errors
    ///
    /// Something could not be removed. What came before it is gone.
    pub fn remove(self) -> Result<RemovedPins, DatapathError> {
        let mut removed = RemovedPins::default();
        for PinnedXdp { index, mode, link, path } in self.xdp() {
            if index != 0 {
                link.detach().map_err(|source| DatapathError::pins("detached", &path, source))?;
                let name = interface_name(index);
                removed.interfaces.push((name.unwrap_or_else(|| index.to_string()), mode.name()));
            }
        }
        if let Ok(Some(link)) = self.listeners() {
            link.detach().map_err(DatapathError::Listener)?;
            removed.listeners = true;
        }
        let directories = names(&self.root).into_iter().filter(|name| is_version(name));
        let directories: Vec<_> = directories.map(|name| self.root.join(name)).collect();
        removed.maps = directories.iter().map(|directory| names(directory).len()).sum();
        for directory in directories.iter().chain([&self.root.join(LINKS)]) {
            match fs::remove_dir_all(directory) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(DatapathError::pins("removed", directory, source));
                }
                _ => {}
            }
        }
        Ok(removed)
    }
}

impl Drop for Pins {
    /// Removes the directory if it is empty.
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.root);
    }
}

/// Locks the directory; creates it and mounts the bpffs if they are missing.
fn take(root: &Path) -> Result<File, DatapathError> {
    let failed = |action, source| DatapathError::pins(action, root, source);
    mount_bpffs(root)?;
    let open = || {
        fs::create_dir_all(root).map_err(|source| failed("made", source))?;
        File::open(root).map_err(|source| failed("opened", source))
    };
    let lock = files::lock_path(root, open, failed)?;
    lock.ok_or_else(|| DatapathError::PinsTaken { path: root.to_owned() })
}

fn is_version(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|version| version.parse::<u32>().is_ok())
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedPins {
    /// Interfaces with the mode that each had.
    pub interfaces: Vec<(String, &'static str)>,
    /// The program ahead of the host's sockets (`sk_lookup`).
    pub listeners: bool,
    pub maps: usize,
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.collect()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns the inode of the calling thread's network namespace.
fn namespace_inode() -> io::Result<u64> {
    fs::metadata("/proc/thread-self/ns/net").map(|found| found.ino())
}

/// Returns `false` if it would be on one were it mounted by convention.
fn is_on_bpffs(root: &Path) -> Result<bool, DatapathError> {
    let there = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let is_bpffs = is_bpffs(there).map_err(|s| DatapathError::pins("examined", there, s))?;
    if !is_bpffs && !root.starts_with(BPFFS) {
        return Err(DatapathError::NoBpffs { path: root.to_owned() });
    }
    Ok(is_bpffs)
}

fn mount_bpffs(root: &Path) -> Result<(), DatapathError> {
    if is_on_bpffs(root)? {
        return Ok(());
    }
    let (kind, target) = (c"bpf".as_ptr(), CString::new(BPFFS).expect("no zero in it"));
    let options = c"mode=0700".as_ptr().cast();
    // SAFETY: the arguments are C strings that live through the call.
    if unsafe { libc::mount(kind, target.as_ptr(), kind, 0, options) } != 0 {
        let source = io::Error::last_os_error();
        return Err(DatapathError::pins("mounted as a bpffs", Path::new(BPFFS), source));
    }
    info!(path = BPFFS, "mounted a bpffs: there was none");
    Ok(())
}

fn is_bpffs(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `path` is a C string, and `found` has room for a statfs.
    if unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has written it, because the call succeeded.
    Ok(unsafe { found.assume_init() }.f_type == BPF_FS_MAGIC)
}
