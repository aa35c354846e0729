//! What `cargo xtask kernels` runs in its guests.

use std::process::ExitCode;

use clap::Parser;
use lb_tests::kernel_check;

/// Runs lb for real on this kernel: steered and proxied, on bonds and VLANs.
#[derive(Parser)]
struct Flags {
    /// Only checks whose names contain one of these.
    names: Vec<String>,
}

fn main() -> ExitCode {
    match kernel_check::run(&Flags::parse().names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
