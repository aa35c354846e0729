//! Flags in, exit code out. The only module that knows clap.

mod check;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::config::LoadError;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the configuration has mistakes, or the command failed
  2  wrong usage, or a file that cannot be read

Environment:
  LB_LOG    what is logged: `info` (default), `debug`, `lb::health=trace,info`, …
  NO_COLOR  no colours";

/// A load balancer: steers packets in the kernel, and proxies TLS and HTTP.
#[derive(Debug, Parser)]
#[command(name = "lb", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate a configuration file and explain every mistake in it.
    Check {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { file } => check::check(&file),
    }
}

fn has_colours(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}

/// Explains on standard error why there is no configuration.
fn refuse(error: &LoadError) -> ExitCode {
    match error {
        LoadError::Invalid(errors) => {
            let stderr = io::stderr();
            let report = errors.render(has_colours(&stderr));
            let count = errors.diagnostics().len();
            let mistakes = if count == 1 { "mistake" } else { "mistakes" };
            complain(&format!(
                "{report}\n\nerror: {count} {mistakes} in the configuration"
            ));
            ExitCode::from(1)
        }
        LoadError::Read { .. } | LoadError::NotText { .. } => {
            complain(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

/// A closed standard error is no reason to panic.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
