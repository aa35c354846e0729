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
pub fn build() -> Result<()> {
    eprintln!("building lb and the lab's programs (a first build takes some minutes)");
    run(in_workspace("build").arg("--bins"))
}

/// Builds `names` and no more, optimised: each is optimised as a whole when it is linked.
pub fn build_optimised(names: &[&str]) -> Result<()> {
    eprintln!("building {}, optimised (a first build takes some minutes)", names.join(", "));
    let mut cargo = in_workspace("build");
    cargo.arg("--release");
    for name in names {
        cargo.args(["--bin", name]);
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
