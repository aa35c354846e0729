//! `cargo xtask bench`: lb-tests' programs `bench-xdp`, `bench-lab`, `bench-proxy` and
//! `bench-control`, optimised.

use std::ffi::OsString;

use anyhow::{Result, ensure};

use crate::{
    process::is_root,
    programs::{Profile, become_program, build_optimised},
    setup,
};

/// `name` is `xdp`, `lab`, `proxy` or `control`.
pub fn bench(name: &str, arguments: &[OsString]) -> Result<()> {
    ensure!(is_root(), "benches need root: they load BPF programs and lay out network namespaces");
    setup::toolchain()?;
    setup::lab()?;
    setup::load()?;
    let program = format!("bench-{name}");
    build_optimised(&["lb", "echo", &program])?;
    become_program(&program, Profile::Release, arguments)
}
