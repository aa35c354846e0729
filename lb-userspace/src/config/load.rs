//! Reads a configuration file and returns a validated [`Config`].

use std::{fs, path::Path};

use super::{
    document,
    text::{
        diagnostic::Errors,
        load_error::LoadError,
        named_file::NamedFile,
        reader::{Report, Value},
    },
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
    let text = read_text(path)?;
    Ok(parse_checked(path, &text, examine)?)
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
    let report = Report::default();
    let config = read(path, text, &report);
    report.check_files(examine);
    let diagnostics = report.into_diagnostics();
    match config {
        Some(config) if diagnostics.is_empty() => Ok(config),
        _ => Err(Errors::new(path.to_owned(), text, diagnostics)),
    }
}

fn read(path: &Path, text: &str, report: &Report) -> Option<Config> {
    let root = document::root(text, report)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    Value::new("", &root, report).section(|root| document::config(root, directory))
}
