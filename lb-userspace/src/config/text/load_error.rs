//! Why a configuration cannot be loaded.

use std::{io, path::PathBuf, str::Utf8Error};

use super::diagnostic::Errors;

/// Why a configuration cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not UTF-8 text from byte {} on", path.display(), source.valid_up_to())]
    NotText { path: PathBuf, source: Utf8Error },
    #[error(transparent)]
    Invalid(#[from] Errors),
}
