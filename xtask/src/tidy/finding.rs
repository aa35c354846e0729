//! One thing that is not as ARCHITECTURE.md says.

use std::{fmt, path::PathBuf};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub file: PathBuf,
    pub line: usize,
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}
