//! `lb status`: what the running daemon says of itself.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{admin::client, config};

use super::{fail, has_colours, print, refuse, table};

/// Where the daemon is looked for when neither a socket nor a configuration is named.
const DEFAULT_SOCKET: &str = "/run/lb/admin.sock";

pub(super) fn status(socket: Option<PathBuf>, file: Option<&Path>, json: bool) -> ExitCode {
    let socket = match self::socket(socket, file) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    match show(&socket, json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn show(socket: &Path, json: bool) -> anyhow::Result<()> {
    let status = client::status(socket)?;
    let text = match json {
        true => serde_json::to_string_pretty(&status)? + "\n",
        false => table::render(&status, has_colours(&io::stdout())),
    };
    print(&text)
}

/// Where the daemon listens. The error has been explained.
pub(super) fn socket(socket: Option<PathBuf>, file: Option<&Path>) -> Result<PathBuf, ExitCode> {
    let config = file.map(config::load).transpose().map_err(|error| refuse(&error))?;
    let configured = config.map(|config| config.admin.listen);
    Ok(socket.or(configured).unwrap_or_else(|| DEFAULT_SOCKET.into()))
}
