//! `cargo xtask fuzz`: lb-tests' program `fuzz-xdp`, optimised.

use std::ffi::OsString;

use anyhow::{Result, ensure};

use crate::{
    process::is_root,
    programs::{Profile, become_program, build_optimised},
    setup,
};

pub fn fuzz(arguments: &[OsString]) -> Result<()> {
    ensure!(is_root(), "the fuzzer needs root: it loads a BPF program and lays out a network");
    setup::toolchain()?;
    setup::lab()?;
    build_optimised(&["fuzz-xdp"])?;
    become_program("fuzz-xdp", Profile::Release, arguments)
}
