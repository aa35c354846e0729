//! Recognises files in the bpffs by their identity.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::Path,
};

/// The device and inode of a file: another file under the same path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity(u64, u64);

impl FileIdentity {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(Self(found.dev(), found.ino()))
    }
}

/// A pinned map and its file.
pub(crate) struct NamedMap {
    pub(crate) name: String,
    pub(crate) map: OwnedFd,
    pub(crate) identity: Option<FileIdentity>,
}
