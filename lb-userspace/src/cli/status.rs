//! `lb status`: what the running daemon says of itself.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    admin::client,
    app,
    config::{self, DaemonPaths},
};

use super::{
    output::{fail, has_colours, print, refuse},
    table,
};

pub(super) fn status(socket: Option<PathBuf>, file: Option<&Path>, json: bool) -> ExitCode {
    let found = match daemon_paths(file) {
        Ok(found) => found,
        Err(code) => return code,
    };
    match show(&socket.unwrap_or(found.socket), json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if app::is_running(&found.pin_dir) => fail(&error.context(format!(
            "an lb runs and holds {}, but does not answer here",
            found.pin_dir.display()
        ))),
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
    if let Some(socket) = socket {
        return Ok(socket);
    }
    daemon_paths(file).map(|found| found.socket)
}

/// Of the daemon with the configuration `file`. The error has been explained.
pub(super) fn daemon_paths(file: Option<&Path>) -> Result<DaemonPaths, ExitCode> {
    let found = file.map(config::load_daemon_paths).transpose().map_err(|error| refuse(&error))?;
    Ok(found.unwrap_or_default())
}
