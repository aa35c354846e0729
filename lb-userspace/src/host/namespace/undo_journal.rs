//! The undo journal: settings that were changed on the host, with their earlier values, in a file,
//! so that the next daemon can take them over and undo them in the end.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use crate::files::{self, Durability};
use crate::host::error::HostError;

const SYSCTLS: &str = "/proc/sys";
const NETNS: &str = "/proc/thread-self/ns/net";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The changed settings, oldest first. Its holder is the only daemon of the directory.
pub(crate) struct UndoJournal {
    path: PathBuf,
    content: Content,
    /// The content of the file.
    saved: Option<Content>,
    /// The last write failed.
    is_unsaved: bool,
    /// Why an earlier daemon's changes are unknown, if there may be some.
    lost: Option<String>,
    lock: File,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// The boot and network namespace of the changes. Elsewhere they mean nothing.
    scene: String,
    changes: Vec<Change>,
    /// Sysctls that have our value, set by us or by somebody else: an earlier journal was lost.
    #[serde(default)]
    unclear: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    /// The path below /proc/sys.
    key: String,
    was: String,
    set: String,
}

impl UndoJournal {
    /// Takes over the directory, and the changes of an earlier daemon of this namespace. `shared`
    /// is the lock of another process on the directory.
    ///
    /// # Errors
    ///
    /// Another daemon holds the directory, or it cannot be written to.
    pub(crate) fn open(state_dir: &Path, shared: Option<OwnedFd>) -> Result<Self, HostError> {
        fs::create_dir_all(state_dir)
            .map_err(|source| HostError::file("create", state_dir, source))?;
        let lock = match shared {
            Some(lock) => File::from(lock),
            None => lock(state_dir)?,
        };
        let path = state_dir.join("undo.json");
        let scene = scene()?;
        let left = read(&path)?.and_then(|content| match content.scene == scene {
            true => Ok(content),
            false => Err("is of another boot or network namespace".to_owned()),
        });
        let (content, saved, lost) = match left {
            Ok(content) => (content.clone(), Some(content), None),
            Err(why) => (Content { scene, ..Content::default() }, None, Some(why)),
        };
        Ok(Self { path, content, saved, is_unsaved: false, lost, lock })
    }

    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Starts the journal. From now on there is a file, so a missing one means something.
    /// `has_predecessor`: an earlier daemon has left something on this host.
    pub(crate) fn begin(&mut self, has_predecessor: bool) {
        self.lost = self.lost.take().filter(|_| has_predecessor);
        if let Some(why) = &self.lost {
            let path = self.path.display();
            warn!(%path, why, "the changes of an earlier lb on this host are not known");
        }
        self.save();
    }

    /// Notes a sysctl that an earlier daemon may have set to `value`, if it has that value and its
    /// note was lost.
    ///
    /// # Errors
    ///
    /// The sysctl cannot be read.
    pub(crate) fn suspect(&mut self, key: &str, value: &str) -> Result<(), HostError> {
        let is_noted = self.changed().any(|changed| changed == key);
        if self.lost.is_some() && !is_noted && sysctl(key)?.as_deref() == Some(value) {
            self.content.unclear.insert(key.to_owned());
            self.save();
        }
        Ok(())
    }

    /// Returns the sysctls that we may have changed, and cannot restore.
    pub(crate) fn unclear(&self) -> &BTreeSet<String> {
        &self.content.unclear
    }

    /// Returns the changed sysctls.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &str> {
        self.content.changes.iter().map(|change| change.key.as_str())
    }

    /// Returns the earlier value of a changed sysctl.
    pub(crate) fn before(&self, key: &str) -> Option<&str> {
        let change = self.content.changes.iter().find(|change| change.key == key);
        change.map(|change| change.was.as_str())
    }

    /// Undoes the changes of those sysctls for which `unwanted` returns true.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub(crate) fn restore_if(&mut self, unwanted: impl Fn(&str) -> bool) -> Result<(), HostError> {
        let keys = self.changed().filter(|key| unwanted(key));
        let keys: Vec<_> = keys.map(str::to_owned).collect();
        keys.iter().try_for_each(|key| self.restore(key))
    }

    /// Sets a sysctl. Its earlier value is written to disk first, if the disk has room. A sysctl
    /// that has the value already, or does not exist (IPv6 switched off), is left alone.
    ///
    /// # Errors
    ///
    /// The sysctl cannot be written.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), HostError> {
        let Some(was) = sysctl(key)? else {
            return Ok(());
        };
        if was == value {
            return Ok(());
        }
        let change = Change { key: key.to_owned(), was, set: value.to_owned() };
        // If somebody undid it, it is noted already.
        if !self.content.changes.contains(&change) {
            self.content.changes.push(change);
            self.save();
        }
        debug!(key, value, "set");
        write(key, value)
    }

    /// Returns the sysctls that somebody has set back to their value before us, with our value.
    ///
    /// # Errors
    ///
    /// A sysctl cannot be read.
    pub(crate) fn set_back(&self) -> Result<Vec<(String, String)>, HostError> {
        let mut found = Vec::new();
        for Change { key, was, set } in &self.content.changes {
            if sysctl(key)?.as_ref() == Some(was) {
                found.push((key.clone(), set.clone()));
            }
        }
        Ok(found)
    }

    /// Undoes the changes of one sysctl.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub(crate) fn restore(&mut self, key: &str) -> Result<(), HostError> {
        for change in self.content.changes.iter().rev() {
            if change.key == key {
                revert(change)?;
            }
        }
        self.content.changes.retain(|change| change.key != key);
        self.save();
        Ok(())
    }

    /// Undoes all changes, the latest first.
    ///
    /// # Errors
    ///
    /// The file cannot be removed. A sysctl that cannot be restored is only logged, so that the
    /// others are restored.
    pub(crate) fn undo(&mut self) -> Result<(), HostError> {
        for change in self.content.changes.drain(..).rev() {
            if let Err(error) = revert(&change) {
                warn!(key = change.key, was = change.was, %error, "cannot restore a sysctl");
            }
        }
        match fs::remove_file(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(HostError::file("remove", &self.path, source))
            }
            _ => Ok(()),
        }
    }

    /// Writes the file if it could not be written before, or is gone.
    pub(crate) fn keep(&mut self) {
        if !self.path.exists() {
            self.saved = None;
        }
        self.save();
    }

    /// Writes the file atomically. A full disk is no reason to stop: clients are served, and
    /// [`keep`](Self::keep) tries again.
    fn save(&mut self) {
        if self.saved.as_ref() == Some(&self.content) {
            return;
        }
        let saved = serde_json::to_vec_pretty(&self.content)
            .map_err(io::Error::from)
            .and_then(|content| files::replace(&self.path, &content, Durability::Synced));
        match saved {
            Ok(()) => {
                if self.is_unsaved {
                    info!(path = %self.path.display(), "written, now that there is room");
                }
                (self.saved, self.is_unsaved) = (Some(self.content.clone()), false);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_unsaved, true) {
                    let path = self.path.display();
                    warn!(%path, %error, "cannot note what is changed on this host: if lb ended \
                          now, `lb detach` would not undo all of it");
                }
            }
        }
    }
}

fn lock(state_dir: &Path) -> Result<File, HostError> {
    let path = state_dir.join("lock");
    let file = File::create(&path).map_err(|source| HostError::file("create", &path, source))?;
    match files::try_lock(&file) {
        Ok(true) => Ok(file),
        Ok(false) => Err(HostError::Running { path: state_dir.to_owned() }),
        Err(source) => Err(HostError::file("lock", &path, source)),
    }
}

/// Reads the file. The inner error means that the file is missing or not ours.
fn read(path: &Path) -> Result<Result<Content, String>, HostError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err("is missing".to_owned()));
        }
        other => other.map_err(|source| HostError::file("read", path, source))?,
    };
    Ok(serde_json::from_str(&text).map_err(|error| format!("makes no sense: {error}")))
}

fn scene() -> Result<String, HostError> {
    let boot = Path::new(BOOT);
    let boot = fs::read_to_string(boot).map_err(|source| HostError::file("read", boot, source))?;
    let netns = Path::new(NETNS);
    let netns = fs::read_link(netns).map_err(|source| HostError::file("read", netns, source))?;
    Ok(format!("{} {}", boot.trim(), netns.display()))
}

/// Restores a sysctl only if it still has our value: a value that somebody set since is theirs.
fn revert(change: &Change) -> Result<(), HostError> {
    if sysctl(&change.key)?.as_ref() == Some(&change.set) {
        debug!(key = change.key, value = change.was, "restored");
        write(&change.key, &change.was)?;
    }
    Ok(())
}

/// Returns a sysctl's value; `None` if it does not exist.
pub(crate) fn sysctl(key: &str) -> Result<Option<String>, HostError> {
    let path = Path::new(SYSCTLS).join(key);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HostError::file("read", &path, source)),
    }
}

fn write(key: &str, value: &str) -> Result<(), HostError> {
    let path = Path::new(SYSCTLS).join(key);
    fs::write(&path, value).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            HostError::Privilege { action: format!("change {}", path.display()) }
        }
        _ => HostError::file("write", &path, source),
    })
}
