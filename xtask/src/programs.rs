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

/// Builds the daemon and the programs of lb-tests. One choice of packages for all that is run
/// here: another would resolve to other features and build everything anew.
pub fn build(profile: Profile) -> Result<()> {
    eprintln!("building lb and the lab's programs (a first build takes some minutes)");
    let mut cargo = cargo();
    cargo.args([
        "build",
        "--workspace",
        "--exclude",
        "lb-ebpf",
        "--bins",
        "--target-dir",
    ]);
    cargo.arg(target());
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    run(&mut cargo)
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
