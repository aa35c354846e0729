//! `cargo xtask test`: everything that must hold, on what is built here.

use std::{process::Command, time::Instant};

use anyhow::{Result, bail, ensure};

use crate::{
    process::{cargo, is_root, root, run, target},
    programs::{self, Profile},
    setup, tidy,
};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 6] = [
    ("format", format),
    ("tidy", tidy::tidy),
    ("lints", lints),
    ("build", || programs::build(Profile::Dev)),
    ("tests without root", rootless),
    ("tests with root", rooted),
];

/// Runs every step, also after one failed, and says at the end what came of each.
pub fn test() -> Result<()> {
    ensure!(
        is_root(),
        "the tests need root: they lay out network namespaces and load BPF programs; \
         `cargo test` runs those that need no root"
    );
    setup::toolchain()?;
    setup::lab()?;
    let mut failed = Vec::new();
    let mut summary = Vec::new();
    for (name, step) in STEPS {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let result = step();
        let took = started.elapsed().as_secs();
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        summary.push(format!("{name:<20} {word:<7} {took:>4} s"));
        if let Err(error) = result {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    }
    eprintln!("\n== summary\n{}", summary.join("\n"));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn format() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    let mut clippy = in_workspace("clippy");
    run(clippy.args(["--all-targets", "--", "--deny", "warnings"]))
}

fn rootless() -> Result<()> {
    run(in_workspace("test").args(["--exclude", "lb-tests", "--no-fail-fast"]))
}

/// One test program after the other, each test beside the others of its program: labs do not
/// collide.
fn rooted() -> Result<()> {
    let mut cargo = cargo();
    cargo.args([
        "test",
        "--package",
        "lb-tests",
        "--no-fail-fast",
        "--target-dir",
    ]);
    run(cargo.arg(target()).current_dir(root()))
}

fn in_workspace(task: &str) -> Command {
    let mut cargo = cargo();
    cargo.args([task, "--workspace", "--exclude", "lb-ebpf", "--target-dir"]);
    cargo.arg(target());
    cargo
}
