//! `cargo xtask kernels`: lb for real on Debian's kernels, each booted here under emulation.
//!
//! A guest sees this host's files under an overlay of its own memory, so that what was built here
//! runs there as it is, on another kernel. It has no network but what it lays out itself.

mod guest;
mod initrd;
mod package;
mod workspace;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use self::{guest::Guest, package::Kernel, workspace::Workspace};
use crate::{
    process::{is_root, target},
    programs::{build, in_workspace},
    setup,
};

/// The oldest that lb is for, and Debian's next.
const USUAL: [&str; 2] = ["6.1", "6.12"];

/// Boots the newest kernel of each of `versions`, or the usual ones, and runs there what must work.
/// Says at the end what came of each.
pub fn kernels(versions: &[String]) -> Result<()> {
    ensure!(is_root(), "this needs root: guests read the host's files, and packages are fetched");
    ensure!(cfg!(target_arch = "x86_64"), "guests are emulated for x86-64 hosts only");
    setup::toolchain()?;
    setup::lab()?;
    setup::guests()?;
    build()?;
    let programs = [target().join("debug/kernel-check"), table_of_frames()?];
    let usual = USUAL.map(str::to_owned);
    let versions = if versions.is_empty() { &usual } else { versions };
    let mut failed = Vec::new();
    let mut summary = Vec::new();
    for version in versions {
        let result = on(version, &programs);
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        summary.push(format!("{version:<10} {word}"));
        if let Err(error) = result {
            eprintln!("error: {version}: {error:#}");
            failed.push(version.as_str());
        }
    }
    println!("\n{}", summary.join("\n"));
    if failed.is_empty() { Ok(()) } else { bail!("failed on {}", failed.join(", ")) }
}

fn on(version: &str, programs: &[PathBuf]) -> Result<()> {
    let workspace = Workspace::create()?;
    let kernel = Kernel::fetch(version, workspace.path())?;
    println!("\n== Linux {}", kernel.release);
    let initrd = initrd::pack(&kernel, workspace.path(), programs)?;
    Guest { kernel: &kernel, initrd: &initrd, directory: workspace.path() }.run()
}

/// The test program that judges the loaded object by the table of frames.
fn table_of_frames() -> Result<PathBuf> {
    let mut cargo: Command = in_workspace("test");
    let built = cargo.args(["--test", "verdicts", "--no-run"]).output()?;
    let said = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "building the table of frames: {said}");
    let line = said.lines().find(|line| line.contains("tests/verdicts.rs ("));
    let path = line.and_then(|line| line.rsplit_once('(')?.1.strip_suffix(')'));
    Ok(crate::process::root().join(path.context("cargo names no program of `verdicts`")?))
}
