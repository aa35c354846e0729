//! Who holds which index of the kernel's tables, for the next daemon: flows speak of indices longer
//! than a daemon lives.
//!
//! `ids.json` has everybody, `ids.log` what changed since then, a line for each time: among a
//! hundred thousand servers one that comes costs a line. Both carry the number of the writing that
//! they belong to, so that a log is never read with another one's `ids.json`. A line that a kill
//! cut short is left out. That is right: nothing is done with an index before its line stands, and
//! the next daemon begins a log of its own. Where the log has grown to the size of what it is
//! about, all is written anew.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::store::{self, StateStore};
use crate::control::{Assigned, Change, StableIds};

const IDS: &str = "ids.json";
const LOG: &str = "ids.log";
/// Changes in a log that are never too many.
const FEW: usize = 4096;

pub struct IdLog {
    notes: StateStore,
    path: PathBuf,
    /// `None`: all is to be written.
    log: Option<Log>,
    /// The last attempt failed.
    is_unwritten: bool,
}

struct Log {
    file: File,
    /// That it has, and that it may have.
    changes: usize,
    most: usize,
}

#[derive(Serialize, Deserialize)]
struct Everybody {
    writing: u64,
    assigned: Assigned,
}

impl IdLog {
    #[must_use]
    pub fn new(notes: StateStore) -> Self {
        let path = notes.directory().join(LOG);
        Self { notes, path, log: None, is_unwritten: false }
    }

    /// Who held which index of our maps. `None`: nobody knows.
    #[must_use]
    pub fn assigned(&self) -> Option<Assigned> {
        let Everybody { writing, assigned } = self.notes.read(IDS)?;
        Some(assigned.after(changes(&self.path, writing)))
    }

    /// Writes down what has changed, before anything is done with it. The first time all is
    /// written.
    ///
    /// What cannot be written is no reason to stop: the notes are removed, for what they say is not
    /// true any more, and the next daemon recognises in the tables what it can. The next call tries
    /// again.
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
                        "cannot note whose the kernel's entries are: if lb ended now, the \
                          next one would know those in use alone"
                    );
                }
            }
        }
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

    fn write_all(&self, assigned: Assigned) -> anyhow::Result<Log> {
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

/// Forgets who holds what: there are no tables any more.
pub(crate) fn remove(state_dir: &Path) -> io::Result<()> {
    [IDS, LOG].iter().try_for_each(|name| store::remove_file(&state_dir.join(name)))
}

/// One write of a line's length: it is there, or cut short at its end.
fn line(content: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(content)?;
    line.push(b'\n');
    Ok(line)
}

/// What the log of this writing says, up to the first line that is not whole.
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
