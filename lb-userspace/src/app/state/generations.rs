//! Which processes of lb live: one that serves, and others that drain after an upgrade. Each has a
//! share of its own of the counts in LOAD.
//!
//! A process learns of the others from the one whose place it takes, and after a crash from a file.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    datapath::Generation,
    files::{self, Durability},
    load::GENERATIONS,
};

const NAME: &str = "generations.json";

/// This process among those that live.
pub(crate) struct Generations {
    path: PathBuf,
    own: Process,
    others: Vec<Process>,
}

/// A process of lb.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Which share is its own.
    number: usize,
    pid: u32,
    /// When it started, by the kernel's clock: another process may get its id later.
    started: u64,
}

impl Generations {
    /// Takes a free share. `given` are the processes that the one whose place is taken knows of,
    /// itself included.
    ///
    /// # Errors
    ///
    /// All shares are taken: too many processes still drain.
    pub(crate) fn take(state_dir: &Path, given: Option<Vec<Process>>) -> anyhow::Result<Self> {
        let path = state_dir.join(NAME);
        let mut others = given.unwrap_or_else(|| read(&path));
        others.retain(|process| process.number < GENERATIONS && process.lives());
        let taken: BTreeSet<_> = others.iter().map(|process| process.number).collect();
        let free = (0..GENERATIONS).find(|number| !taken.contains(number));
        ensure!(
            free.is_some(),
            "{} processes of lb still have connections of earlier upgrades: wait until one has \
             ended (`lb status` shows them), or end the oldest",
            others.len()
        );
        let pid = std::process::id();
        let number = free.unwrap_or_default();
        let own = Process { number, pid, started: started(pid).unwrap_or_default() };
        Ok(Self { path, own, others })
    }

    /// Notes them for a process that starts after a crash. A daemon can do without.
    pub(crate) fn save(&self) {
        let written = serde_json::to_vec(&self.all())
            .map_err(io::Error::from)
            .and_then(|content| files::replace(&self.path, &content, Durability::Cached));
        if let Err(error) = written {
            warn!(path = %self.path.display(), %error, "cannot note which processes of lb live");
        }
    }

    pub(crate) fn generation(&self) -> Generation {
        let others = self.others.iter().map(|process| process.number);
        Generation { own: self.own.number, others: others.collect() }
    }

    /// Returns the shares of processes that have ended since the last call.
    pub(crate) fn ended(&mut self) -> Vec<usize> {
        let ended = self.others.extract_if(.., |process| !process.lives());
        let ended: Vec<_> = ended.map(|process| process.number).collect();
        if !ended.is_empty() {
            self.save();
        }
        ended
    }

    /// Returns all of them, for the process that takes this one's place.
    pub(crate) fn all(&self) -> Vec<Process> {
        self.others.iter().chain([&self.own]).cloned().collect()
    }

    /// Returns the ids of the other processes.
    pub(crate) fn others(&self) -> Vec<u32> {
        self.others.iter().map(|process| process.pid).collect()
    }
}

impl Process {
    fn lives(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// Returns when a process started, in ticks since the boot (proc_pid_stat(5), field 22). `None`:
/// there is none, or it only waits to be reaped.
fn started(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may contain anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (state != "Z").then_some(started)
}

fn read(path: &Path) -> Vec<Process> {
    let read = fs::read(path).and_then(|text| Ok(serde_json::from_slice(&text)?));
    match read {
        Ok(processes) => processes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            warn!(path = %path.display(), %error, "ignoring a file that is not valid");
            Vec::new()
        }
    }
}

/// Removes the file: nobody lives.
pub(crate) fn remove(state_dir: &Path) -> io::Result<()> {
    super::store::remove_file(&state_dir.join(NAME))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn child() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    fn process(number: usize, child: &Child) -> Process {
        Process { number, pid: child.id(), started: started(child.id()).unwrap() }
    }

    #[test]
    fn each_process_has_a_share_until_it_ends() {
        let directory = std::env::temp_dir().join(format!("lb-generations-{}", std::process::id()));
        let mut children = [child(), child(), child(), child()];
        let lives: Vec<_> = (0..3).map(|n| process(n, &children[n])).collect();
        let mut ours = Generations::take(&directory, Some(lives.clone())).unwrap();
        assert_eq!(ours.generation().own, 3);
        assert_eq!(ours.generation().others, [0, 1, 2].into());
        assert!(ours.ended().is_empty());
        let four = [&lives[..], &[process(3, &children[3])]].concat();
        let refused = Generations::take(&directory, Some(four)).err().unwrap().to_string();
        assert!(refused.contains("4 processes"), "{refused}");
        children[1].kill().unwrap();
        children[1].wait().unwrap();
        assert_eq!(ours.ended(), [1]);
        assert_eq!(ours.others(), [children[0].id(), children[2].id()]);
        // The file knows them after a crash, but for those that have ended.
        children[0].kill().unwrap();
        children[0].wait().unwrap();
        let found = Generations::take(&directory, None).unwrap();
        assert_eq!(found.others(), [children[2].id(), std::process::id()]);
        assert_eq!(found.generation().own, 0);
        for child in &mut children {
            let _ = child.kill();
            let _ = child.wait();
        }
        remove(&directory).unwrap();
        fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn a_process_is_not_another_one_with_its_id() {
        let pid = std::process::id();
        let ours = Process { number: 0, pid, started: started(pid).unwrap() };
        assert!(ours.lives());
        assert!(!Process { started: ours.started + 1, ..ours }.lives());
    }
}
