//! Installing what building, the lab and the benches take. Quick when nothing is missing.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};

use crate::{
    apt,
    process::{self, run},
    python,
    toolchain::{Compiler, Missing, Toolchain, Way, cargo_bin, own_tools, programs},
};

/// Debian's compiler, and its `core` for BPF.
const COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// The release whose features `llvm-N` say which LLVMs it knows.
const LINKER_VERSION: &str = "0.13.0";

/// Its library of licences and its reading of `deny.toml` change with its version.
const DENY_VERSION: &str = "0.20.2";

/// A program and the Debian package that has it.
type Tool = (&'static str, &'static str);

const LAB: [Tool; 10] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("ethtool", "ethtool"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("strace", "strace"),
    ("psql", "postgresql-client"),
    ("pg_lsclusters", "postgresql"),
];
const LOAD: [Tool; 3] = [("iperf3", "iperf3"), ("wrk", "wrk"), ("h2load", "nghttp2-client")];
/// Guests with other kernels.
const GUESTS: [Tool; 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setpriv", "util-linux"),
    ("depmod", "kmod"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
];
/// What the benches compare with, and receivers of the PROXY protocol.
const PEERS: [Tool; 2] = [("nginx", "nginx-light"), ("haproxy", "haproxy")];
/// nginx's module for relaying.
const STREAM: &str = "libnginx-mod-stream";

/// `cargo xtask setup`: everything.
pub fn all() -> Result<()> {
    let toolchain = toolchain()?;
    deny()?;
    lab()?;
    load()?;
    eprintln!("setup: kernel objects are built by {toolchain}");
    eprintln!("setup: the lab's tools are there");
    Ok(())
}

/// The tools of the demo and the tests.
pub fn lab() -> Result<()> {
    install(&LAB)?;
    install(&PEERS)?;
    python::install()?;
    install(&LOAD)
}

/// The tools of the benches.
pub fn load() -> Result<()> {
    install(&LOAD)?;
    apt::install(&apt::missing(&[STREAM]))
}

/// The program that checks the dependencies, built when there is none.
pub fn deny() -> Result<PathBuf> {
    let own = own_tools().join("bin/cargo-deny");
    if let Some(found) = programs("cargo-deny").chain([own.clone()]).find(|path| path.is_file()) {
        return Ok(found);
    }
    eprintln!("setup: building cargo-deny {DENY_VERSION} (some minutes, once)");
    let mut cargo = process::cargo();
    cargo
        .args(["install", "cargo-deny", "--locked", "--version", DENY_VERSION, "--root"])
        .arg(own_tools())
        .env_remove("CARGO_TARGET_DIR");
    run(&mut cargo)?;
    Ok(own)
}

/// The tools of guests.
pub fn guests() -> Result<()> {
    anyhow::ensure!(apt::is_here(), "guests run Debian's kernels, which apt fetches");
    install(&GUESTS)
}

/// A toolchain for kernel objects, installed when there is none.
pub fn toolchain() -> Result<Toolchain> {
    let missing = match Toolchain::find() {
        Ok(toolchain) => return Ok(toolchain),
        Err(missing) => missing,
    };
    eprintln!("setup: {missing}");
    let compiler = match missing {
        Missing::Linker(compiler) => compiler,
        Missing::Compiler => install_compiler()?,
    };
    if let Ok(toolchain) = Toolchain::find() {
        return Ok(toolchain);
    }
    install_linker(&compiler)?;
    Toolchain::find().map_err(|missing| anyhow!("still {missing}"))
}

fn install(tools: &[Tool]) -> Result<()> {
    let packages: Vec<_> = tools
        .iter()
        .filter(|(program, _)| programs(program).next().is_none())
        .map(|(_, package)| *package)
        .collect();
    apt::install(&packages)
}

fn install_compiler() -> Result<Compiler> {
    const RUSTUP: &str = "rustup toolchain install nightly --component rust-src";
    if !apt::is_here() {
        bail!("please type: {RUSTUP} && cargo install bpf-linker");
    }
    if process::is_root() {
        apt::refresh_unless_known(&COMPILER)?;
    }
    if !COMPILER.iter().all(|package| apt::offers(package)) {
        bail!(
            "this Debian has no {}; please type: {RUSTUP} && cargo install bpf-linker",
            COMPILER.join(" ")
        );
    }
    eprintln!("setup: taking {}", Way::Debian);
    apt::install(&apt::missing(&COMPILER))?;
    Compiler::all()
        .into_iter()
        .next()
        .ok_or_else(|| anyhow!("{} are installed but have no core for BPF", COMPILER.join(" ")))
}

/// Builds bpf-linker against the compiler's LLVM.
fn install_linker(compiler: &Compiler) -> Result<()> {
    let llvm = compiler.llvm;
    if compiler.way == Way::Nightly && !apt::is_here() {
        bail!("please type: cargo install bpf-linker --no-default-features --features llvm-{llvm}");
    }
    let package = format!("llvm-{llvm}-dev");
    apt::install(&apt::missing(&[&package]))?;
    eprintln!("setup: building bpf-linker {LINKER_VERSION} for LLVM {llvm} (about a minute)");
    let mut cargo = process::cargo();
    cargo
        .args(["install", "bpf-linker", "--locked", "--version", LINKER_VERSION])
        .args(["--no-default-features", "--features"])
        .arg(format!("llvm-{llvm}"))
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"))
        .env_remove("CARGO_TARGET_DIR");
    // One that serves another compiler stays where it is.
    if programs("bpf-linker").next().is_some() || cargo_bin().is_none() {
        cargo.arg("--root").arg(own_tools());
    }
    run(&mut cargo)
}
