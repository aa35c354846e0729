//! `lb backends`: the servers of all services.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use crate::{
    admin::{BackendStatus, OrderBody, ServiceStatus, Status, client},
    cli::{
        output::{fail, print},
        table::columns::{Align, Columns},
    },
    objects::OrderTarget,
};

use super::{flags::Common, tell::tell};

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum BackendsCommand {
    /// List the servers of all services, or of one, with their health and connections.
    List {
        /// The service's name. Default: all services.
        service: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Give a server another weight, or have it take nothing new, whoever configured it.
    Order(OrderFlags),
}

/// An order for a server. It takes the place of one before.
#[derive(Debug, clap::Args)]
#[group(id = "order", required = true, multiple = true, args = ["weight", "drain", "undo"])]
pub(in crate::cli) struct OrderFlags {
    /// The service's name.
    service: String,
    /// The server's address and port, as `lb status` shows it.
    #[arg(value_name = "ADDRESS")]
    server: SocketAddr,
    /// Its weight instead of the configured one. 0: it gets nothing new.
    #[arg(long, value_name = "N")]
    weight: Option<u16>,
    /// It gets nothing new, and what it has goes on.
    #[arg(long)]
    drain: bool,
    /// How long the order stands, such as 10m. Default: until it is undone.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// What is configured takes effect again.
    #[arg(long, conflicts_with_all = ["weight", "drain", "ttl"])]
    undo: bool,
    #[command(flatten)]
    common: Common,
}

pub(in crate::cli) fn backends(command: BackendsCommand) -> ExitCode {
    match command {
        BackendsCommand::List { service, common } => list(service, common),
        BackendsCommand::Order(flags) => order(flags),
    }
}

fn order(flags: OrderFlags) -> ExitCode {
    let OrderFlags { service, server, weight, drain, ttl, undo, common } = flags;
    let Common { socket, json } = common;
    let socket = match socket.path() {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let body = OrderBody { weight, drain, ttl_ms };
    let target = OrderTarget { service, server };
    let done = client::order(&socket, &target, (!undo).then_some(&body));
    match done.and_then(|done| tell(&done, json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn list(service: Option<String>, common: Common) -> ExitCode {
    let Common { socket, json } = common;
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
