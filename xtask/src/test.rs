//! `cargo xtask test`: everything that must hold, on what is built here.

use std::{fs, process::Command, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    process::{answer, cargo, is_root, root, run, target},
    programs::in_workspace,
    setup, tidy,
};

type Step = (&'static str, fn() -> Result<()>);

/// What needs neither root nor a lab.
const UNPRIVILEGED: [Step; 7] = [
    ("format", format),
    ("tidy", tidy::tidy),
    ("lints", lints),
    ("deny", deny),
    ("docs", docs),
    ("msrv", msrv),
    ("unit tests", unit_tests),
];

/// The whole: unit tests run among all others.
const ALL: [Step; 8] = [
    ("format", format),
    ("tidy", tidy::tidy),
    ("lints", lints),
    ("deny", deny),
    ("docs", docs),
    ("msrv", msrv),
    ("build", build),
    ("tests", tests),
];

/// Runs every step, also after one failed, and says at the end what came of each.
pub fn test(unprivileged: bool) -> Result<()> {
    ensure!(
        unprivileged || is_root(),
        "the tests need root: they lay out network namespaces and load BPF programs; \
         `cargo xtask test --unprivileged` runs those that need no root"
    );
    setup::toolchain()?;
    setup::deny()?;
    if !unprivileged {
        setup::lab()?;
    }
    let steps: &[Step] = if unprivileged { &UNPRIVILEGED } else { &ALL };
    let mut failed = Vec::new();
    let mut summary = Vec::new();
    for (name, step) in steps {
        eprintln!("\n== {name}");
        let started = Instant::now();
        let result = step();
        let took = started.elapsed().as_secs();
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        summary.push(format!("{name:<20} {word:<7} {took:>4} s"));
        if let Err(error) = result {
            eprintln!("error: {error:#}");
            failed.push(*name);
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

/// Licences, unwanted crates and foreign sources among the dependencies. Advisories are left out:
/// their database is on the internet.
fn deny() -> Result<()> {
    let mut deny = Command::new(setup::deny()?);
    deny.current_dir(root());
    run(deny.args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}

fn docs() -> Result<()> {
    let mut doc = in_workspace("doc");
    doc.args(["--no-deps", "--document-private-items"]);
    // What is private is documented too, so links to it lead somewhere.
    run(doc.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links"))
}

/// The oldest compiler that the manifests promise compiles everything. Where it is the one that
/// runs, the other steps have shown that.
fn msrv() -> Result<()> {
    let promised = promised_version()?;
    let current = answer(Command::new("rustc").current_dir(root()).arg("--version"));
    let current = current.context("rustc does not tell its version")?;
    let version = current.split_whitespace().nth(1).unwrap_or_default();
    if version.starts_with(&format!("{promised}.")) {
        eprintln!("{current} is the oldest that is promised");
        return Ok(());
    }
    let mut check = Command::new("rustup");
    check.current_dir(root()).args(["run", "--install", &promised, "cargo", "check"]);
    check.args(["--workspace", "--exclude", "lb-ebpf", "--all-targets", "--target-dir"]);
    // Another compiler would build everything anew each time, back and forth, in one directory.
    run(check.arg(target().join("msrv")))
}

fn promised_version() -> Result<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    Ok(line.context("Cargo.toml has no rust-version")?.trim_matches('"').to_owned())
}

fn unit_tests() -> Result<()> {
    run(in_workspace("test").args(["--exclude", "lb-tests", "--no-fail-fast"]))
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
