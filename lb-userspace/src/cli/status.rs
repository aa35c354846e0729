//! `lb status`: the status of the running daemon.

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
    output::{fail, has_colours, print, print_load_error},
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
            "an lb is running and holds {}, but does not answer at this socket",
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

/// Returns where the daemon listens. An error has been printed already.
pub(super) fn socket(socket: Option<PathBuf>, file: Option<&Path>) -> Result<PathBuf, ExitCode> {
    if let Some(socket) = socket {
        return Ok(socket);
    }
    daemon_paths(file).map(|found| found.socket)
}

/// Returns the paths of the daemon with the configuration `file`. An error has been printed
/// already.
pub(super) fn daemon_paths(file: Option<&Path>) -> Result<DaemonPaths, ExitCode> {
    let found = file
        .map(config::load_daemon_paths)
        .transpose()
        .map_err(|error| print_load_error(&error))?;
    Ok(found.unwrap_or_default())
}
