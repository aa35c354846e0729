//! Python packages that tests use as clients and servers, in an environment of their own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    apt,
    process::{answer, run, target},
};

/// The package's name for pip, and the module that it brings.
const PACKAGES: [(&str, &str); 4] = [
    ("grpcio==1.*", "grpc"),
    // Frames of HTTP/2 by hand, for clients that misbehave.
    ("h2==4.*", "h2"),
    ("websockets==15.*", "websockets"),
    // Brings PostgreSQL 18's libpq, which begins with TLS at once.
    ("psycopg[binary]==3.3.*", "psycopg"),
];

/// The interpreter that has the packages.
#[must_use]
pub fn interpreter() -> PathBuf {
    environment().join("bin/python")
}

fn environment() -> PathBuf {
    target().join("python")
}

/// Makes the environment where it is missing, and installs what it lacks.
pub fn install() -> Result<()> {
    let python = interpreter();
    if !python.exists() {
        if apt::is_here() {
            apt::install(&apt::missing(&["python3-venv"]))?;
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(environment()))?;
    }
    let has = |module: &str| import(&python, module).is_some();
    let missing: Vec<_> = PACKAGES.iter().filter(|(_, module)| !has(module)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run(pip.args(missing.iter().map(|(package, _)| package)))
}

fn import(python: &Path, module: &str) -> Option<String> {
    answer(Command::new(python).arg("-c").arg(format!("import {module}")))
}
