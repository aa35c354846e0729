//! `lb upgrade`: another process takes the running daemon's place.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use crate::admin::{UpgradeRequest, client};

use crate::cli::{
    output::{fail, print},
    status,
};

/// Which program, and which daemon.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct UpgradeFlags {
    /// The new program. Default: what lies where the daemon's own was started from.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Configuration of the daemon, to find its socket.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Socket of the daemon. Default: /run/lb/admin.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn upgrade(flags: UpgradeFlags) -> ExitCode {
    let UpgradeFlags { binary, config, socket, json } = flags;
    let socket = match status::socket(socket, config.as_deref()) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    match exchange(&socket, binary, json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn exchange(socket: &Path, binary: Option<PathBuf>, json: bool) -> anyhow::Result<()> {
    let binary = binary.map(|path| {
        std::path::absolute(&path).with_context(|| format!("cannot find {}", path.display()))
    });
    let request = UpgradeRequest { binary: binary.transpose()? };
    let reply = client::upgrade(socket, &request)?;
    match json {
        true => print(&(serde_json::to_string_pretty(&reply)? + "\n")),
        false => print(&format!("process {} serves; the former one drains\n", reply.pid)),
    }
}
