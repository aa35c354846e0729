//! Where a run keeps its files: kernels are large, so all of it goes at the end.

use std::{
    fs,
    path::{self, Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::process::target;

/// Removed when dropped. What a killed run left, the next one removes.
pub(super) struct Workspace(PathBuf);

impl Workspace {
    pub(super) fn create() -> Result<Self> {
        let all = path::absolute(target().join("kernels"))?;
        remove_orphans(&all);
        let own = all.join(std::process::id().to_string());
        fs::create_dir_all(&own).with_context(|| format!("creating {}", own.display()))?;
        Ok(Self(own))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        // Unless another run has its own there.
        let _ = self.0.parent().map(fs::remove_dir);
    }
}

/// Each is called after its process.
fn remove_orphans(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
