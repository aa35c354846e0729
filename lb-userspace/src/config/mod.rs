//! Text to a validated [`Config`](crate::settings::Config): the only module that knows TOML.
//!
//! In rooms, each of which imports only those before it: `text → values → tables → checks`. The
//! reader walks the TOML tree and collects mistakes; a file per table reads its keys; the checks
//! refuse combinations within one service, and between several.

mod checks;
mod daemon_paths;
mod document;
mod file_objects;
mod join;
mod load;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod values;

pub use self::{
    daemon_paths::{DaemonPaths, load_daemon_paths},
    file_objects::{FileObject, file_objects},
    join::{FileText, Joined, Shadowed, join, join_what_fits},
    load::{load, load_checked, parse, parse_checked, read_text},
    text::{
        diagnostic::{Diagnostic, Errors, Span},
        load_error::LoadError,
        named_file::NamedFile,
    },
};
