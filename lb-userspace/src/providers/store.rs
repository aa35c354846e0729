//! Keeps what clients of the API made: a file for each revision, the last few of them.
//!
//! Writes are rare and ten thousand services are a few MiB, so a file is written whole: it is
//! there as a whole or not at all, and a person can read it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::provided::{Provided, Snapshot};
use crate::files::{self, Durability};

/// Revisions that are kept.
pub(super) const KEPT: usize = 16;

/// The directory of the revisions.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot keep the change in {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is damaged, and the revision before is used: {source}", path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
}

impl Store {
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { directory: state_dir.join("api") }
    }

    /// Returns what was saved last, and what is wrong with what was saved after that. Nothing was
    /// saved: no object.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn load(&self) -> Result<(Provided, Vec<StoreError>), StoreError> {
        let mut damaged = Vec::new();
        let revisions = self.revisions()?;
        for &revision in revisions.iter().rev() {
            match self.read(revision) {
                Ok(provided) => {
                    // What comes next is not to be taken for what is damaged.
                    let last = revisions.last().copied().unwrap_or_default();
                    return Ok((provided.at_least(last), damaged));
                }
                Err(error) => damaged.push(error),
            }
        }
        let last = revisions.last().copied().unwrap_or_default();
        Ok((Provided::default().at_least(last), damaged))
    }

    fn read(&self, revision: u64) -> Result<Provided, StoreError> {
        let path = self.path(revision);
        let text = fs::read(&path);
        let text = text.map_err(|source| StoreError::Read { path: path.clone(), source })?;
        let snapshot = serde_json::from_slice::<Snapshot>(&text);
        snapshot.map(Provided::from).map_err(|source| StoreError::Damaged { path, source })
    }

    /// Saves a revision. Once this returns, it outlives a crash of the host.
    ///
    /// # Errors
    /// A system call failed, for example because the disk is full: the revision before is still the
    /// last one.
    pub fn save(&self, provided: &Provided) -> Result<(), StoreError> {
        let path = self.path(provided.revision());
        let written = serde_json::to_vec_pretty(&provided.snapshot())
            .map_err(io::Error::from)
            .and_then(|text| files::replace(&path, &text, Durability::Synced));
        written.map_err(|source| StoreError::Write { path, source })?;
        // What is too much is in nobody's way.
        let revisions = self.revisions().unwrap_or_default();
        for old in revisions.iter().rev().skip(KEPT) {
            let _ = fs::remove_file(self.path(*old));
        }
        Ok(())
    }

    /// Takes a revision back that could not be applied.
    ///
    /// # Errors
    /// A system call failed: a restart would begin with that revision.
    pub fn take_back(&self, provided: &Provided) -> Result<(), StoreError> {
        let path = self.path(provided.revision());
        let removed = fs::remove_file(&path).and_then(|()| files::sync_directory(&self.directory));
        removed.map_err(|source| StoreError::Write { path, source })
    }

    /// The saved revisions, the last one last.
    fn revisions(&self) -> Result<Vec<u64>, StoreError> {
        let failed = |source| StoreError::Read { path: self.directory.clone(), source };
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut revisions = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let number: Option<u64> =
                name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
            revisions.extend(number);
        }
        revisions.sort_unstable();
        Ok(revisions)
    }

    fn path(&self, revision: u64) -> PathBuf {
        self.directory.join(format!("{revision}.json"))
    }
}
