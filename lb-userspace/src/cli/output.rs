//! Printing, and the exit codes of failures.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::Context;

use crate::{admin::client::RequestRefused, config::LoadError};

pub(super) fn has_colours(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}

/// Prints on standard error why there is no configuration.
pub(super) fn print_load_error(error: &LoadError) -> ExitCode {
    match error {
        LoadError::Invalid(errors) => {
            let report = errors.render(has_colours(&io::stderr()));
            let count = errors.diagnostics().len();
            let mistakes = if count == 1 { "mistake" } else { "mistakes" };
            print_error(&format!("{report}\n\nerror: {count} {mistakes} in the configuration"));
            ExitCode::from(1)
        }
        LoadError::Read { .. } | LoadError::NotText { .. } => {
            print_error(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Prints on standard error why a command failed.
pub(super) fn fail(error: &anyhow::Error) -> ExitCode {
    print_error(&format!("error: {error:#}"));
    match error.downcast_ref::<RequestRefused>().map(|refused| refused.0.status) {
        Some(404) => ExitCode::from(3),
        Some(409 | 412) => ExitCode::from(4),
        _ => ExitCode::from(1),
    }
}

/// Prints on standard output. A reader that closed it, as `head` does, is no failure.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Prints on standard error. If that is closed, nothing can be told.
pub(super) fn print_error(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
