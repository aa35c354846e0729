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
    let configured = match file.map(config::load).transpose() {
        Ok(config) => config.map(|config| config.admin.listen),
        Err(error) => return refuse(&error),
    };
    let socket = socket.or(configured);
    match show(&socket.unwrap_or_else(|| DEFAULT_SOCKET.into()), json) {
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
