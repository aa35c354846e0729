//! `cargo xtask`: flags in, exit code out.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{build_ebpf, setup};

/// Everything around the load balancer.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Flags {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the tools, or say what to type.
    Setup,
    /// Build the kernel object.
    BuildEbpf {
        /// With messages of the kernel program.
        #[arg(long)]
        log: bool,
        /// Put a copy here.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Flags::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup => setup::all(),
        Task::BuildEbpf { log, out } => {
            setup::toolchain()?;
            let options = build_ebpf::Options {
                log,
                ..build_ebpf::Options::default()
            };
            let object = build_ebpf::build(options)?;
            let object = match out {
                Some(out) => std::fs::copy(&object, &out).map(|_| out)?,
                None => object,
            };
            println!("{}", object.display());
            Ok(())
        }
    }
}
