//! `cargo xtask torture`: lb-tests' program `torture`, as the tests build it.

use std::ffi::OsString;

use anyhow::{Result, ensure};

use crate::{
    process::is_root,
    programs::{Profile, become_program, build},
    setup,
};

pub fn torture(arguments: &[OsString]) -> Result<()> {
    ensure!(is_root(), "the torture needs root: it lays out network namespaces");
    setup::toolchain()?;
    setup::lab()?;
    build()?;
    become_program("torture", Profile::Dev, arguments)
}
