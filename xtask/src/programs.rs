//! Building the workspace's programs and becoming one of them.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

use crate::process::{cargo, run, target};

/// How cargo builds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Soonest ready; shared with the tests.
    Dev,
    Release,
}

/// Builds the daemon and the programs of lb-tests.
pub fn build(profile: Profile) -> Result<()> {
    eprintln!("building lb and the lab's programs (a first build takes some minutes)");
    let mut cargo = in_workspace("build");
    cargo.arg("--bins");
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    run(&mut cargo)
}

/// Cargo's `task` on all packages but lb-ebpf. It is always the same choice of packages: another
/// would resolve to other features and build everything anew.
#[must_use]
pub fn in_workspace(task: &str) -> Command {
    let mut cargo = cargo();
    cargo.args([task, "--workspace", "--exclude", "lb-ebpf", "--target-dir"]);
    cargo.arg(target());
    cargo
}

/// Replaces this process by a program of the workspace, so that signals reach it and its exit code
/// is ours.
pub fn become_program(name: &str, profile: Profile, arguments: &[OsString]) -> Result<()> {
    let directory = match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    };
    let program = target().join(directory).join(name);
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
