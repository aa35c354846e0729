//! `lb reload` and `lb diff`: another configuration for the running daemon.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use crate::admin::{ReloadReply, ReloadRequest, client};

use crate::cli::{
    output::{fail, print, print_error},
    status,
};

/// Which daemon is asked.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ReloadFlags {
    /// Say only what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    daemon: DaemonFlags,
}

/// A file that the daemon compares with its configuration.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DiffFlags {
    /// Configuration file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    daemon: DaemonFlags,
}

#[derive(Debug, clap::Args)]
struct DaemonFlags {
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

pub(in crate::cli) fn reload(flags: ReloadFlags) -> ExitCode {
    ask(flags.daemon, &ReloadRequest { file: None, dry_run: flags.dry_run })
}

pub(in crate::cli) fn diff(flags: DiffFlags) -> ExitCode {
    let file = std::path::absolute(&flags.file);
    let file = file.with_context(|| format!("cannot find {}", flags.file.display()));
    match file {
        Ok(file) => ask(flags.daemon, &ReloadRequest { file: Some(file), dry_run: true }),
        Err(error) => fail(&error),
    }
}

fn ask(daemon: DaemonFlags, request: &ReloadRequest) -> ExitCode {
    let DaemonFlags { config, socket, json } = daemon;
    let socket = match status::socket(socket, config.as_deref()) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    match exchange(&socket, request, json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn exchange(socket: &Path, request: &ReloadRequest, json: bool) -> anyhow::Result<()> {
    let reply = client::reload(socket, request)?;
    for warning in &reply.warnings {
        print_error(&format!("warning: {warning}"));
    }
    match json {
        true => print(&(serde_json::to_string_pretty(&reply)? + "\n")),
        false => print(&text(&reply)),
    }
}

fn text(reply: &ReloadReply) -> String {
    match &reply.changes[..] {
        [] => "nothing changes\n".to_owned(),
        changes => changes.join("\n") + "\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_has_a_line() {
        let reply = |changes: &[&str]| ReloadReply {
            changes: changes.iter().map(ToString::to_string).collect(),
            warnings: Vec::new(),
        };
        assert_eq!(text(&reply(&[])), "nothing changes\n");
        assert_eq!(text(&reply(&["web: removed", "ssh: added"])), "web: removed\nssh: added\n");
    }
}
