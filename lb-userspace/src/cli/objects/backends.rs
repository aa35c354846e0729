//! `lb backends`: the servers of all services.

use std::process::ExitCode;

use crate::{
    admin::{BackendStatus, ServiceStatus, Status, client},
    cli::{
        output::{fail, print},
        table::columns::{Align, Columns},
    },
};

use super::flags::Common;

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum BackendsCommand {
    /// List the servers of all services, or of one, with their health and connections.
    List {
        /// The service's name. Default: all services.
        service: Option<String>,
        #[command(flatten)]
        common: Common,
    },
}

pub(in crate::cli) fn backends(command: BackendsCommand) -> ExitCode {
    let BackendsCommand::List { service, common: Common { socket, json } } = command;
    let socket = match socket.path() {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let list = || {
        let mut status = client::status(&socket)?;
        status.services.retain(|it| service.as_ref().is_none_or(|name| *name == it.name));
        match (json, &service) {
            (_, Some(name)) if status.services.is_empty() => {
                anyhow::bail!("there is no service `{name}`")
            }
            (true, _) => print(&(serde_json::to_string_pretty(&status.services)? + "\n")),
            (false, _) => print(&table(&status)),
        }
    };
    match list() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn table(status: &Status) -> String {
    let head = [
        ("SERVICE", Align::Left),
        ("BACKEND", Align::Left),
        ("STATE", Align::Left),
        ("WEIGHT", Align::Right),
        ("LIVE", Align::Right),
        ("TAKEN", Align::Right),
    ];
    let mut columns = Columns::new(head);
    for service in &status.services {
        for backend in &service.backends {
            columns.add(row(service, backend));
        }
    }
    let mut text = String::new();
    columns.write(&mut text, "", |_| false).expect("a String takes everything");
    text
}

fn row(service: &ServiceStatus, backend: &BackendStatus) -> [String; 6] {
    let state = match backend {
        BackendStatus { removed: true, .. } => "removed",
        BackendStatus { draining: true, .. } => "drains",
        BackendStatus { up: true, .. } => "up",
        _ => "down",
    };
    [
        service.name.clone(),
        backend.address.to_string(),
        state.to_owned(),
        backend.weight.to_string(),
        backend.live.to_string(),
        backend.taken.to_string(),
    ]
}
