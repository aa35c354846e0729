//! `cargo xtask demo`: tools, build, then lb-tests' program `demo`.

use std::ffi::OsString;

use anyhow::{Result, ensure};

use crate::{
    process::is_root,
    programs::{Profile, become_program, build},
    setup,
};

pub fn demo(keep: bool, json: bool) -> Result<()> {
    ensure!(
        is_root(),
        "the demo needs root: it lays out network namespaces and loads BPF programs"
    );
    setup::toolchain()?;
    setup::lab()?;
    build()?;
    let flags = [(keep, "--keep"), (json, "--json")];
    let flags = flags.into_iter().filter(|(given, _)| *given);
    let flags: Vec<_> = flags.map(|(_, flag)| OsString::from(flag)).collect();
    become_program("demo", Profile::Dev, &flags)
}
