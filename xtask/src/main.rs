//! `cargo xtask`: flags in, exit code out.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{bench, build_ebpf, demo, fuzz, kernels, lab, setup, test, tidy, torture};

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
    /// Show the load balancer at work in a lab of network namespaces.
    Demo {
        /// Leave the lab up to play with.
        #[arg(long)]
        keep: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// The lab for people: `up`, `down`, `exec NAMESPACE -- COMMAND`.
    Lab {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<OsString>,
    },
    /// Run everything that must hold: format, layers, lints, dependencies, documentation, tests
    /// without and with root.
    Test {
        /// Only what needs no root.
        #[arg(long)]
        unprivileged: bool,
    },
    /// Measure: `xdp` nanoseconds a packet, `proxy` CPU time beside other proxies, `lab` real
    /// traffic, `control` changes.
    Bench {
        #[arg(value_parser = ["xdp", "lab", "proxy", "control"])]
        name: String,
        /// `--json`, and what else the bench takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Compare the loaded program with the library: `--frames N --seed S`.
    Fuzz {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Change the configuration all the time under traffic of six kinds, and count what fails:
    /// `--seconds N --reloads N --seed S --json`.
    Torture {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Boot Debian's kernels under emulation (some minutes each) and run lb there.
    Kernels {
        /// Such as 6.12; 6.1 and 6.12 where none is named.
        versions: Vec<String>,
    },
    /// Check who imports whom, sizes and names.
    Tidy,
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
        Task::BuildEbpf { log, out } => build_object(log, out),
        Task::Demo { keep, json } => demo::demo(keep, json),
        Task::Lab { arguments } => lab::lab(&arguments),
        Task::Test { unprivileged } => test::test(unprivileged),
        Task::Bench { name, arguments } => bench::bench(&name, &arguments),
        Task::Fuzz { arguments } => fuzz::fuzz(&arguments),
        Task::Torture { arguments } => torture::torture(&arguments),
        Task::Kernels { versions } => kernels::kernels(&versions),
        Task::Tidy => tidy::tidy(),
    }
}

fn build_object(log: bool, out: Option<PathBuf>) -> Result<()> {
    setup::toolchain()?;
    let options = build_ebpf::Options { log, ..build_ebpf::Options::default() };
    let object = match out {
        Some(out) => build_ebpf::build_to(options, &out).map(|()| out)?,
        None => build_ebpf::build(options)?,
    };
    println!("{}", object.display());
    Ok(())
}
