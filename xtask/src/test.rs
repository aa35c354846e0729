//! `cargo xtask test`: everything that must hold, on what is built here.

use std::{fs, time::Instant};

use anyhow::{Result, bail, ensure};

use crate::{
    process::{cargo, is_root, run, target},
    programs::in_workspace,
    setup, tidy,
};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 5] = [
    ("format", format),
    ("tidy", || tidy::tidy(false)),
    ("lints", lints),
    ("build", build),
    ("tests", tests),
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

/// The programs that tests run, resolved as for the tests so that nothing is compiled twice.
fn build() -> Result<()> {
    build_other()?;
    run(in_workspace("build").args(["--bins", "--tests"]))
}

/// A second daemon whose kernel program is another: what an upgrade is tested with.
fn build_other() -> Result<()> {
    run(in_workspace("build").args(["--bin", "lb", "--features", "lb-userspace/kernel-log"]))?;
    let directory = target().join("debug");
    // Not in place: a copy that runs cannot be written to.
    let (draft, other) = (directory.join("lb-kernel-log.new"), directory.join("lb-kernel-log"));
    fs::copy(directory.join("lb"), &draft)?;
    Ok(fs::rename(draft, other)?)
}

/// Without root and with it. Test programs run one after the other, the tests of one beside each
/// other: labs do not collide.
fn tests() -> Result<()> {
    run(in_workspace("test").arg("--no-fail-fast"))
}
