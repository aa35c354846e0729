//! Reads a configuration file and returns a validated [`Config`].

use std::{fs, path::Path};

use super::{
    join::{self, FileText},
    text::{diagnostic::Errors, load_error::LoadError, named_file::NamedFile},
};
use crate::settings::Config;

/// Reads and validates the file at `path`.
///
/// # Errors
/// The file cannot be read, is not text, or is not a valid configuration.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    load_checked(path, |_| Vec::new())
}

/// Reads and validates the file at `path`. `examine` returns what is wrong with a file that it
/// names.
///
/// # Errors
/// As of [`load`], or something is wrong with one of them.
pub fn load_checked(
    path: &Path,
    examine: impl Fn(&NamedFile) -> Vec<String>,
) -> Result<Config, LoadError> {
    let file = FileText::read(path)?;
    let joined = join::join(&file, &[], |_, named| examine(named))?;
    Ok(joined.config)
}

impl FileText {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or is not text.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        Ok(Self { path: path.to_owned(), text: read_text(path)?.into() })
    }
}

/// Reads the file at `path`.
///
/// # Errors
/// It cannot be read, or is not text.
pub fn read_text(path: &Path) -> Result<String, LoadError> {
    let bytes =
        fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| {
        let source = error.utf8_error();
        LoadError::NotText { path: path.to_owned(), source }
    })
}

/// Validates `text`. `path` names it in errors, and relative paths in it start at its directory.
///
/// # Errors
/// Every mistake in the text; where it is no TOML, the first place at which it is not.
pub fn parse(path: &Path, text: &str) -> Result<Config, Errors> {
    parse_checked(path, text, |_| Vec::new())
}

/// Validates `text` as [`parse`] does, and examines the files that it names as [`load_checked`]
/// does.
///
/// # Errors
/// As of [`parse`], or something is wrong with one of the files.
pub fn parse_checked(
    path: &Path,
    text: &str,
    examine: impl Fn(&NamedFile) -> Vec<String>,
) -> Result<Config, Errors> {
    let file = FileText { path: path.to_owned(), text: text.into() };
    join::join(&file, &[], |_, named| examine(named)).map(|joined| joined.config)
}
