//! How files under our names in the bpffs are known again.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::Path,
};

/// By which a file is known: another one under the same path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity(u64, u64);

impl FileIdentity {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(Self(found.dev(), found.ino()))
    }
}

/// A map and its name.
pub(crate) struct NamedMap {
    pub(crate) name: String,
    pub(crate) map: OwnedFd,
    pub(crate) stamp: Option<FileIdentity>,
}
