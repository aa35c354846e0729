//! `cargo xtask lab`: lb-tests' program `lab`.

use std::ffi::OsString;

use anyhow::{Result, ensure};

use crate::{
    process::{is_root, target},
    programs::{Profile, become_program, build},
    setup,
};

pub fn lab(arguments: &[OsString]) -> Result<()> {
    ensure!(is_root(), "the lab needs root: it lays out network namespaces");
    let built = target().join("debug/lab").exists();
    let lays_out = arguments.first().is_some_and(|task| task == "up");
    if lays_out || !built {
        setup::toolchain()?;
        setup::lab()?;
        build()?;
    }
    become_program("lab", Profile::Dev, arguments)
}
