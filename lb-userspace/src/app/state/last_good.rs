//! The last configuration that was applied, for a start whose file is wrong.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::files::{self, Durability};

const NAME: &str = "last-good.json";

/// A configuration as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    /// The file that it came from: relative paths in it start at its directory.
    pub file: PathBuf,
    pub text: String,
}

impl ConfigText {
    /// Reads what the last daemon with this state directory ran with. `None`: there was none.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read_last_good(state_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = state_dir.join(NAME);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let read = serde_json::from_str(&text);
        read.map(Some).with_context(|| format!("{} is not valid", path.display()))
    }

    /// Keeps it for the next daemon, which may find a wrong file.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn keep_as_last_good(&self, state_dir: &Path) -> anyhow::Result<()> {
        let path = state_dir.join(NAME);
        let content = serde_json::to_vec(self)?;
        files::replace(&path, &content, Durability::Synced)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Removes it: nothing of lb is left here.
pub(crate) fn remove(state_dir: &Path) -> io::Result<()> {
    super::store::remove_file(&state_dir.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let directory = std::env::temp_dir().join(format!("lb-last-good-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        assert_eq!(ConfigText::read_last_good(&directory).unwrap(), None);
        let good = ConfigText { file: "/etc/lb.toml".into(), text: "[node]\n".to_owned() };
        good.keep_as_last_good(&directory).unwrap();
        assert_eq!(ConfigText::read_last_good(&directory).unwrap(), Some(good));
        fs::write(directory.join(NAME), "{").unwrap();
        assert!(ConfigText::read_last_good(&directory).is_err());
        fs::remove_dir_all(&directory).unwrap();
    }
}
