//! The ids in the kernel's tables and their holders, for the next daemon: flows refer to ids longer
//! than a daemon lives.
//!
//! `ids.json` has all holders. `ids.log` has what changed since then, one line for each change of
//! the tables, so that among a hundred thousand servers an additional one costs a line. Both carry
//! the same random number, so that a log is never read with the `ids.json` of another. A line that
//! a kill cut short is ignored. That is right: an id is used only after its line is written, and
//! the next daemon begins its own log. When the log has grown to the size of the snapshot, both are
//! written anew.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::store::{self, StateStore};
use crate::control::{Change, IdAssignment, StableIds};

const IDS: &str = "ids.json";
const LOG: &str = "ids.log";
/// The least number of changes after which both files are written anew.
const FEW: usize = 4096;

pub struct IdLog {
    notes: StateStore,
    path: PathBuf,
    /// `None`: everything is to be written.
    log: Option<Log>,
    /// The last attempt failed.
    is_unwritten: bool,
}

struct Log {
    file: File,
    /// The changes in the log, and how many there may be.
    changes: usize,
    most: usize,
}

#[derive(Serialize, Deserialize)]
struct Everybody {
    writing: u64,
    assigned: IdAssignment,
}

impl IdLog {
    #[must_use]
    pub fn new(notes: StateStore) -> Self {
        let path = notes.directory().join(LOG);
        Self { notes, path, log: None, is_unwritten: false }
    }

    /// Returns which ids of our maps were held by whom. `None`: nobody knows.
    #[must_use]
    pub fn assigned(&self) -> Option<IdAssignment> {
        let Everybody { writing, assigned } = self.notes.read(IDS)?;
        Some(assigned.after(changes(&self.path, writing)))
    }

    /// Writes what has changed, before the ids are used. The first call writes everything.
    ///
    /// A failure does not stop the daemon: the files are removed, since they are no longer true,
    /// and the next daemon recognises what it can in the tables. The next call tries again.
    pub fn note(&mut self, ids: &mut StableIds) {
        match self.write(ids) {
            Ok(()) => {
                ids.mark_noted();
                if std::mem::take(&mut self.is_unwritten) {
                    info!(path = %self.path.display(), "written, now that there is room");
                }
            }
            Err(error) => {
                let _ = remove(self.notes.directory());
                if !std::mem::replace(&mut self.is_unwritten, true) {
                    let error = format!("{error:#}");
                    warn!(
                        error,
                        "cannot record the ids of the kernel's entries: if lb ended now, \
                         the next one would recognise only those in use"
                    );
                }
            }
        }
    }

    /// Has the next note write everything: another process has written the files.
    pub(crate) fn start_over(&mut self) {
        self.log = None;
    }

    fn write(&mut self, ids: &mut StableIds) -> anyhow::Result<()> {
        match self.log.take().filter(|_| self.path.exists()) {
            Some(log) if !ids.have_changed() => self.log = Some(log),
            Some(mut log) => {
                let changes = ids.changes();
                log.changes += changes.len();
                self.log = if log.changes > log.most {
                    Some(self.write_all(ids.assigned())?)
                } else {
                    let line = line(&changes)?;
                    let written = log.file.write_all(&line);
                    written.with_context(|| format!("cannot write {}", self.path.display()))?;
                    Some(log)
                };
            }
            None => self.log = Some(self.write_all(ids.assigned())?),
        }
        Ok(())
    }

    fn write_all(&self, assigned: IdAssignment) -> anyhow::Result<Log> {
        let writing = fastrand::u64(..);
        let most = assigned.holders().max(FEW);
        self.notes.write(IDS, &Everybody { writing, assigned })?;
        let begin = || {
            let mut file = File::create(&self.path)?;
            file.write_all(&line(&writing)?)?;
            io::Result::Ok(file)
        };
        let file = begin().with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(Log { file, changes: 0, most })
    }
}

/// Removes the files: there are no tables any more.
pub(crate) fn remove(state_dir: &Path) -> io::Result<()> {
    [IDS, LOG].iter().try_for_each(|name| store::remove_file(&state_dir.join(name)))
}

/// Returns one line for one write: it is there whole, or cut short at the end of the file.
fn line(content: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(content)?;
    line.push(b'\n');
    Ok(line)
}

/// Returns the changes in the log of this snapshot, up to the first incomplete line.
fn changes(path: &Path, writing: u64) -> Vec<Change> {
    let text = fs::read(path).unwrap_or_default();
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    let ours = lines.next().and_then(|line| serde_json::from_slice(line).ok()) == Some(writing);
    let whole = lines.take_while(|line| ours && line.ends_with(b"\n"));
    let batches = whole.map_while(|line| serde_json::from_slice::<Vec<Change>>(line).ok());
    batches.flatten().collect()
}

#[cfg(test)]
mod tests;
