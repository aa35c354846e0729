//! `cargo xtask bench`: lb-tests' programs `bench-xdp`, `bench-lab` and `bench-control`, optimised.

use std::ffi::OsString;

use anyhow::{Result, ensure};

use crate::{
    process::is_root,
    programs::{Profile, become_program, build},
    setup,
};

/// `name` is `xdp`, `lab` or `control`.
pub fn bench(name: &str, arguments: &[OsString]) -> Result<()> {
    ensure!(is_root(), "benches need root: they load BPF programs and lay out network namespaces");
    setup::toolchain()?;
    setup::lab()?;
    setup::load()?;
    build(Profile::Release)?;
    become_program(&format!("bench-{name}"), Profile::Release, arguments)
}
