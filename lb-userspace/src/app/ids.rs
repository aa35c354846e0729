//! Which indices of the kernel's tables were given to whom, in a file: flows speak of them longer
//! than a daemon lives.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::control::Assigned;

/// `ids.json` in the state directory.
pub(super) struct Ids {
    path: PathBuf,
    /// The kernel's numbers of our maps.
    maps: BTreeSet<u32>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    /// The kernel's numbers of the maps that it is about: those of another data path mean nothing.
    maps: BTreeSet<u32>,
    assigned: Assigned,
}

impl Ids {
    pub(super) fn at(state_dir: &Path, maps: BTreeSet<u32>) -> Self {
        Self { path: path(state_dir), maps }
    }

    /// What the file says of our maps. `None`: there is none, it cannot be understood, or it is
    /// about others.
    pub(super) fn read(&self) -> Option<Assigned> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            text => text.map_err(anyhow::Error::from),
        };
        let content = text.and_then(|text| Ok(serde_json::from_str::<Content>(&text)?));
        match content {
            Ok(content) => {
                let ours = content.maps.intersection(&self.maps).next().is_some();
                ours.then_some(content.assigned)
            }
            Err(error) => {
                let path = self.path.display();
                warn!(%path, error = format!("{error:#}"), "ignoring a file that makes no sense");
                None
            }
        }
    }

    /// Whole or not at all, as far as a crash of the daemon goes. After a crash of the host there
    /// are no maps that it could be about.
    pub(super) fn write(&self, assigned: Assigned) -> anyhow::Result<()> {
        let draft = self.path.with_extension("json.new");
        let content = Content { maps: self.maps.clone(), assigned };
        let write = || {
            fs::write(&draft, serde_json::to_vec(&content)?)?;
            fs::rename(&draft, &self.path)
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Forgets what was assigned: there are no tables any more.
pub(super) fn remove(state_dir: &Path) -> io::Result<()> {
    match fs::remove_file(path(state_dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("ids.json")
}
