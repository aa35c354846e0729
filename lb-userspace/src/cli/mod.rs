//! The command line: flags in, exit code out. The only module that knows clap.

mod changes;
mod check;
mod decap;
mod detach;
mod explain;
mod flows;
mod logging;
mod objects;
mod output;
mod run;
mod selector;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod trace;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use changes::{drain, reload, upgrade};
use logging::LogFormat;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the configuration has mistakes, or the command failed
  2  wrong usage, or a configuration file that cannot be read
  3  there is no such object
  4  the object belongs to the file, exists already, or has changed meanwhile

Environment:
  LB_LOG    what `lb run` logs: `info` (default), `debug`, `lb::health=trace,info`, …
  NO_COLOR  no colours";

/// A load balancer: steers packets in the kernel, and proxies TLS and HTTP.
#[derive(Debug, Parser)]
#[command(name = "lb", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate a configuration file and explain every mistake in it.
    Check {
        /// Configuration in TOML; docs/configuration.md has every key.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Run the load balancer in the foreground, until SIGTERM or Ctrl-C. Needs root.
    Run {
        /// Configuration file; `lb check` validates it.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Format of the log on standard error.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        log_format: LogFormat,
        /// If the file is wrong or cannot be read, start with the last configuration that was
        /// applied, which is kept in `[node] state_dir`.
        #[arg(long)]
        or_last_good: bool,
    },
    /// On a backend: take packets out of `ipip` and `gue` tunnels, until SIGTERM or Ctrl-C.
    ///
    /// The backend then needs no tunnel device, only the announced address (on `lo`). Tunnelled
    /// packets that end at this host and contain a packet for one of its addresses are unpacked;
    /// all others pass unchanged. Needs root. SIGHUP logs the counts.
    Decap(decap::DecapFlags),
    /// Remove what `lb run` leaves in place on purpose: programs, tables, routes, settings.
    ///
    /// The pass-through data path outlives the daemon, so that a restart or an upgrade interrupts
    /// nothing. This command ends it. It refuses while a daemon runs. Needs root, in the daemon's
    /// network namespace.
    Detach {
        /// Configuration of the daemon, to find its data path and its state. Default:
        /// /sys/fs/bpf/lb and /run/lb
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Take a server out of service gently: it gets nothing new, and its connections may end.
    Drain(drain::DrainFlags),
    /// Say what the running daemon would change if FILE were its configuration.
    Diff(reload::DiffFlags),
    /// Tell what would happen to a packet, and why: the loaded program decides, and nothing
    /// changes.
    Explain(explain::ExplainFlags),
    /// Have the running daemon read its configuration again. Nothing that stays is touched; a wrong
    /// configuration is refused whole.
    Reload(reload::ReloadFlags),
    /// List the connections that are steered now, the latest first.
    Flows(flows::FlowsFlags),
    /// Services: those of the configuration file, and those that are made here.
    #[command(subcommand)]
    Services(objects::ServicesCommand),
    /// Pools of servers that services refer to.
    #[command(subcommand)]
    Pools(objects::PoolsCommand),
    /// Servers of services.
    #[command(subcommand)]
    Backends(objects::BackendsCommand),
    /// Certificates.
    #[command(subcommand)]
    Certs(objects::CertsCommand),
    /// Show decisions about packets as they pass. Costs nothing while no trace runs.
    Trace(trace::TraceFlags),
    /// Have a new process take the running daemon's place. It gets the same listening sockets; no
    /// connection is refused or reset.
    Upgrade(upgrade::UpgradeFlags),
    /// Show services, backends, health, live counts and drops of the running daemon.
    Status {
        /// Print one JSON object instead of a table.
        #[arg(long)]
        json: bool,
        /// Configuration of the daemon, to find its socket.
        #[arg(long, value_name = "FILE", conflicts_with = "socket")]
        config: Option<PathBuf>,
        /// Socket of the daemon. Default: /run/lb/admin.sock
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
}

/// Runs the `lb` command.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { file } => check::check(&file),
        Command::Run { config, log_format, or_last_good } => {
            run::run(&config, log_format, or_last_good)
        }
        Command::Decap(flags) => decap::decap(flags),
        Command::Detach { config } => detach::detach(config.as_deref()),
        Command::Drain(flags) => drain::drain(flags),
        Command::Diff(flags) => reload::diff(flags),
        Command::Reload(flags) => reload::reload(flags),
        Command::Upgrade(flags) => upgrade::upgrade(flags),
        Command::Explain(flags) => explain::explain(flags),
        Command::Flows(flags) => flows::flows(flags),
        Command::Services(command) => objects::services(command),
        Command::Pools(command) => objects::pools(command),
        Command::Backends(command) => objects::backends(command),
        Command::Certs(command) => objects::certs(command),
        Command::Trace(flags) => trace::trace(flags),
        Command::Status { json, config, socket } => status::status(socket, config.as_deref(), json),
    }
}
