//! Flags in, exit code out. The only module that knows clap.

use std::process::ExitCode;

pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
