//! Files of the state directory for the next daemon: which servers were down, and which drain since
//! when. [`id_log`](super::id_log) adds the ids of the kernel's tables.

use std::{
    collections::BTreeSet,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::warn;

use crate::files::{self, Durability};

const DOWN: &str = "down.json";
const DRAINS: &str = "drains.json";

/// A server of the service with this name.
pub(crate) type PoolMember = (String, SocketAddr);

#[derive(Clone)]
pub struct StateStore {
    directory: PathBuf,
    /// The kernel's ids of our maps.
    maps: BTreeSet<u32>,
}

#[derive(Serialize, Deserialize)]
struct Record<T> {
    /// The kernel's ids of the maps that the record is about: it is not valid for others. The
    /// kernel may reuse an id after a restart of the host, but never for maps with something in
    /// them.
    maps: BTreeSet<u32>,
    content: T,
}

/// A server that drains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DrainRecord {
    pub(crate) service: String,
    pub(crate) server: SocketAddr,
    /// When the drain began, in ms of Unix time: time runs on while no daemon runs.
    pub(crate) since_ms: u64,
    /// By a request of the operator, which stands until another. Otherwise by configuration.
    pub(crate) ordered: bool,
    /// As requested. `None`: the service's.
    pub(crate) deadline_ms: Option<u64>,
    /// It is no longer configured, and drains since it left at the latest.
    #[serde(default)]
    pub(crate) left: bool,
}

impl StateStore {
    #[must_use]
    pub fn new(state_dir: &Path, maps: BTreeSet<u32>) -> Self {
        Self { directory: state_dir.to_owned(), maps }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns whether the files are there: somebody may have removed them.
    pub(crate) fn exist(&self) -> bool {
        self.directory.join(DRAINS).exists()
    }

    /// Returns the servers that did not pass their checks.
    pub(crate) fn down(&self) -> BTreeSet<PoolMember> {
        self.read(DOWN).unwrap_or_default()
    }

    pub(crate) fn save_down(&self, down: &BTreeSet<PoolMember>) -> anyhow::Result<()> {
        self.write(DOWN, down)
    }

    /// Returns which servers drain. The operator's requests hold whatever became of the maps.
    pub(crate) fn drains(&self) -> Vec<DrainRecord> {
        self.read_file(DRAINS).unwrap_or_default()
    }

    pub(crate) fn save_drains(&self, drains: &[DrainRecord]) -> anyhow::Result<()> {
        self.write_file(DRAINS, &drains)
    }

    /// Reads a record. `None`: see [`read_file`](Self::read_file), or it is not about our maps.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let note: Record<T> = self.read_file(name)?;
        (!note.maps.is_disjoint(&self.maps)).then_some(note.content)
    }

    /// `None`: the file does not exist, or is not valid.
    fn read_file<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.directory.join(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            text => text.map_err(anyhow::Error::from),
        };
        match text.and_then(|text| Ok(serde_json::from_str(&text)?)) {
            Ok(content) => Some(content),
            Err(error) => {
                let (path, error) = (path.display(), format!("{error:#}"));
                warn!(%path, error, "ignoring a file that is not valid");
                None
            }
        }
    }

    pub(crate) fn write(&self, name: &str, content: &impl Serialize) -> anyhow::Result<()> {
        self.write_file(name, &Record { maps: self.maps.clone(), content })
    }

    /// Writes a file whole or not at all if the daemon crashes. After a crash of the host there are
    /// no maps that the file could be about.
    fn write_file(&self, name: &str, content: &impl Serialize) -> anyhow::Result<()> {
        let path = self.directory.join(name);
        let written = serde_json::to_vec(content)
            .map_err(io::Error::from)
            .and_then(|content| files::replace(&path, &content, Durability::Cached));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Removes the files: there are no tables any more.
pub(crate) fn remove(state_dir: &Path) -> io::Result<()> {
    [DOWN, DRAINS].iter().try_for_each(|name| remove_file(&state_dir.join(name)))
}

/// Removes a file if it exists.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_about_certain_maps() {
        let directory = std::env::temp_dir().join(format!("lb-notes-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let about = |maps: &[u32]| StateStore::new(&directory, maps.iter().copied().collect());
        let down = BTreeSet::from([("web".to_owned(), SocketAddr::from(([10, 0, 0, 1], 80)))]);
        assert!(about(&[1, 2]).down().is_empty(), "there is none");
        about(&[1, 2]).save_down(&down).unwrap();
        assert_eq!(about(&[2, 3]).down(), down, "one map goes on");
        assert!(about(&[3, 4]).down().is_empty());
        let drained = DrainRecord {
            service: "web".to_owned(),
            server: SocketAddr::from(([10, 0, 0, 1], 80)),
            since_ms: 5,
            ordered: true,
            deadline_ms: None,
            left: false,
        };
        assert!(about(&[1, 2]).drains().is_empty(), "there is none");
        about(&[1, 2]).save_drains(std::slice::from_ref(&drained)).unwrap();
        assert_eq!(about(&[3, 4]).drains(), [drained], "an order is not about maps");
        fs::write(directory.join(DOWN), "nonsense").unwrap();
        assert!(about(&[1, 2]).down().is_empty());
        remove(&directory).unwrap();
        remove(&directory).unwrap();
        fs::remove_dir(&directory).unwrap();
    }
}
