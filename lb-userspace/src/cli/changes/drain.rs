//! `lb drain`: makes a server take nothing new.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use crate::admin::{DrainRequest, client};

use crate::cli::{
    output::{fail, print, print_error},
    status,
};

/// A server of a service, and what is to become of it.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DrainFlags {
    /// The service's name.
    service: String,
    /// The server's address and port, as `lb status` shows it.
    #[arg(value_name = "ADDRESS")]
    server: SocketAddr,
    /// How long its connections may go on, such as 30s. Default: the service's `drain_deadline`, or
    /// until they have ended.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// Let it take new flows again.
    #[arg(long, conflicts_with = "deadline")]
    undo: bool,
    /// Configuration of the daemon, to find its socket.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Socket of the daemon. Default: /run/lb/admin.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub(in crate::cli) fn drain(flags: DrainFlags) -> ExitCode {
    let socket = match status::socket(flags.socket, flags.config.as_deref()) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let millis = |deadline: Duration| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    let order = DrainRequest {
        service: flags.service,
        server: flags.server,
        deadline_ms: flags.deadline.map(millis),
        undo: flags.undo,
    };
    let what = if order.undo { "takes new flows again" } else { "drains" };
    let done = client::drain(&socket, &order).and_then(|drained| {
        if let Some(warning) = drained.warning {
            print_error(&format!("warning: {warning}"));
        }
        print(&format!("{} of {} {what}\n", order.server, order.service))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}
