//! Compiling lb-ebpf into the object that the daemon embeds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    process::{self, root},
    toolchain::{TARGET, Toolchain, Way},
};

/// What the object depends on, relative to the workspace.
pub const SOURCES: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    "lb-ebpf/Cargo.toml",
    "lb-ebpf/src",
    "lb-common/Cargo.toml",
    "lb-common/src",
];

/// Lets LLVM load packet fields in one piece. Compilers know it from LLVM 22 on.
const MISALIGNED: &str = "allows-misaligned-mem-access";

#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Messages of the kernel program.
    pub log: bool,
    /// The programs of `bench xdp` beside the product's own.
    pub bench: bool,
    /// A clock and random numbers that `fuzz` sets.
    pub fuzz: bool,
    /// The architecture whose registers carry the arguments of BPF tracing programs, as in
    /// `CARGO_CFG_TARGET_ARCH`.
    pub arch: &'a str,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { log: false, bench: false, fuzz: false, arch: std::env::consts::ARCH }
    }
}

impl Options<'_> {
    /// Of lb-ebpf. Objects of different features lie beside each other.
    fn features(&self) -> Vec<&'static str> {
        let known = [(self.log, "log"), (self.bench, "bench"), (self.fuzz, "fuzz")];
        known.into_iter().filter_map(|(wanted, name)| wanted.then_some(name)).collect()
    }
}

/// Builds the object and says where it lies. It has a target directory of its own: the cargo that
/// runs a build script holds the lock of the other one.
pub fn build(options: Options<'_>) -> Result<PathBuf> {
    let toolchain = Toolchain::find()
        .map_err(|missing| anyhow!("{missing}. `cargo xtask setup` installs it or says how"))?;
    eprintln!("kernel object: {toolchain}");
    let features = options.features();
    let directory = process::target().join([&["bpf"], &features[..]].concat().join("-"));
    let mut cargo = nested_cargo(&toolchain);
    cargo
        .args(["build", "--package", "lb-ebpf", "--profile", "bpf"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&toolchain, options.arch));
    if !features.is_empty() {
        cargo.args(["--features", &features.join(",")]);
    }
    if toolchain.compiler.way == Way::Nightly {
        cargo.args(["-Z", "build-std=core"]);
    }
    process::run(&mut cargo).context("building the kernel object")?;
    Ok(directory.join(TARGET).join("bpf/lb"))
}

/// Builds the object and puts a copy at `to`.
pub fn build_to(options: Options<'_>, to: &Path) -> Result<()> {
    let object = build(options)?;
    fs::copy(&object, to)
        .with_context(|| format!("copying {} to {}", object.display(), to.display()))?;
    Ok(())
}

/// Builds the objects and puts copies into `directory`: `lb.bpf.o` for the daemon and `decap.bpf.o`
/// for backends.
pub fn build_into(options: Options<'_>, directory: &Path) -> Result<()> {
    let balancer = build(options)?;
    let decap = balancer.with_file_name("decap");
    for (object, name) in [(balancer, "lb.bpf.o"), (decap, "decap.bpf.o")] {
        let to = directory.join(name);
        fs::copy(&object, &to)
            .with_context(|| format!("copying {} to {}", object.display(), to.display()))?;
    }
    Ok(())
}

/// A cargo that knows nothing of the one that may be running us.
fn nested_cargo(toolchain: &Toolchain) -> Command {
    let rustc = &toolchain.compiler.rustc;
    let mut cargo = match toolchain.compiler.way {
        Way::Debian => process::cargo(),
        // build-std wants the cargo of the same release.
        Way::Nightly => Command::new(rustc.with_file_name("cargo")),
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_none_or(belongs_to_outer_build) {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(root())
        .env("RUSTC", rustc)
        // aya-ebpf uses unstable features, which only this lets a stable compiler accept.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker);
    cargo
}

fn belongs_to_outer_build(name: &str) -> bool {
    const EXACT: [&str; 10] = [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_LINKER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_INCREMENTAL",
    ];
    const PREFIXES: [&str; 6] = [
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_BUILD_RUST",
    ];
    EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// In cargo's encoding: separated by the unit separator.
fn flags(toolchain: &Toolchain, arch: &str) -> String {
    let mut flags = vec![
        "--cfg".to_owned(),
        format!("bpf_target_arch=\"{arch}\""),
        "-Clink-arg=--btf".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
    ];
    if toolchain.compiler.knows(MISALIGNED) {
        flags.push(format!("-Ctarget-feature=+{MISALIGNED}"));
    }
    flags.join("\x1f")
}
