//! `cargo xtask lab`: the tests' lab, for people.

use std::{os::unix::process::CommandExt as _, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use lb_tests::{
    actors::servers,
    lab::{
        netns,
        topology::{self, KEPT, Lab},
    },
};

/// A lab of network namespaces: client — lb — fabric — b1, b2, b3.
#[derive(Parser)]
#[command(name = "cargo xtask lab")]
struct Flags {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Lay it out and start the backends' servers.
    Up,
    /// End what runs in it and remove it.
    Down,
    /// Run a command in one of its namespaces.
    Exec {
        /// client, lb, fabric, b1, b2 or b3.
        namespace: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Flags::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Up => up(),
        Task::Down => down(),
        Task::Exec { namespace, command } => exec(&namespace, &command),
    }
}

fn up() -> Result<()> {
    if topology::find(KEPT, "lb").is_some() {
        bail!("the lab is up already; `cargo xtask lab down` removes it");
    }
    let mut lab = Lab::tagged(KEPT)?;
    let mut servers = servers::start_all(&lab)?;
    for server in &mut servers {
        server.keep();
    }
    lab.keep();
    for name in netns::names(&format!("lb-{KEPT}-")) {
        println!("{name}");
    }
    eprintln!("lab: files in {}", lab.directory().display());
    eprintln!(
        "lab: try `cargo xtask lab exec lb -- ping -c 1 10.102.0.11`, and `lab down` when done"
    );
    Ok(())
}

fn down() -> Result<()> {
    if topology::remove(KEPT)? {
        eprintln!("lab: removed");
    } else {
        eprintln!("lab: there is none");
    }
    Ok(())
}

fn exec(namespace: &str, command: &[String]) -> Result<()> {
    let netns = topology::find(KEPT, namespace).with_context(|| {
        format!("no namespace {namespace:?}; there are client, lb, fabric, b1, b2, b3 after `cargo xtask lab up`")
    })?;
    let (program, arguments) = command.split_first().context("no command")?;
    Err(netns.command(program).args(arguments).exec()).context("starting nsenter")
}
