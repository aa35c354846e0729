//! Kernels as Debian packages them. Which there are, apt knows: they go with every update.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt,
    process::{answer, run},
};

const PREFIX: &str = "linux-image-";
/// Neither -cloud-amd64, which has no 9p, nor -rt-amd64.
const FLAVOUR: &str = "-amd64";

/// One of them, unpacked.
pub(super) struct Kernel {
    /// As `uname -r` says.
    pub release: String,
    /// What would be `/`.
    pub root: PathBuf,
}

impl Kernel {
    /// The newest of `version`, such as `6.12`, unpacked in `directory`.
    pub(super) fn fetch(version: &str, directory: &Path) -> Result<Self> {
        let Some(package) = newest(version).or_else(|| {
            apt::refresh().ok()?;
            newest(version)
        }) else {
            bail!("apt offers no {PREFIX}{version}…{FLAVOUR}");
        };
        let root = directory.join(&package);
        fetch(&package, &root)?;
        let release = package.trim_start_matches(PREFIX).to_owned();
        run(Command::new("depmod").arg("-b").arg(&root).arg(&release))?;
        Ok(Self { release, root })
    }

    pub(super) fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    pub(super) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }
}

/// Unpacks a package in a new directory. It is not installed.
pub(super) fn fetch(package: &str, root: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    run(Command::new("apt-get").args(["download", "--quiet", package]).current_dir(root))?;
    let file = fs::read_dir(root)?.flatten().map(|entry| entry.path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|it| it == "deb"));
    let file = file.with_context(|| format!("apt left no package {package}"))?;
    run(Command::new("dpkg").arg("-x").args([file.as_path(), root]))?;
    Ok(fs::remove_file(file)?)
}

fn newest(version: &str) -> Option<String> {
    let names =
        answer(Command::new("apt-cache").arg("pkgnames").arg(format!("{PREFIX}{version}")))?;
    let numbered = names.lines().filter_map(|name| Some((numbers(name, version)?, name)));
    numbered.filter(|(_, name)| apt::offers(name)).max().map(|(_, name)| name.to_owned())
}

/// The numbers in a package's name, where that is one of a release of `version` itself: not of 6.12
/// for 6.1, and no metapackage.
fn numbers(package: &str, version: &str) -> Option<Vec<u64>> {
    let release = package.strip_prefix(PREFIX)?.strip_suffix(FLAVOUR)?;
    let rest = release.strip_prefix(version)?;
    if rest.starts_with(|next: char| next.is_ascii_digit()) {
        return None;
    }
    let parts = release.split(['.', '-', '+']).map(|part| part.trim_start_matches("deb"));
    let numbers: Option<Vec<u64>> = parts.map(|part| part.parse().ok()).collect();
    numbers.filter(|numbers| numbers.len() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_found_by_its_numbers() {
        let found = |name, version| numbers(name, version);
        assert_eq!(found("linux-image-6.1.0-56-amd64", "6.1"), Some(vec![6, 1, 0, 56]));
        let names = ["linux-image-6.12.9+deb12-amd64", "linux-image-6.12.117+deb12-amd64"];
        assert!(found(names[0], "6.12") < found(names[1], "6.12"));
        for other in [
            "linux-image-6.12-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-rt-amd64",
            "linux-image-6.12.117+deb12-amd64-dbg",
            "linux-image-6.12.117+deb12-amd64-unsigned",
        ] {
            assert_eq!(found(other, "6.12"), None, "{other}");
        }
        assert_eq!(found(names[1], "6.1"), None);
    }
}
