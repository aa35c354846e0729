//! Composes the daemon: the one module that sees everything.

mod assembly;
mod daemon;
mod privilege;
mod report;
mod signals;
mod sizing;
mod sources;
mod steering;
mod sweeping;

use std::time::Instant;

use tracing::error;

use self::{
    daemon::{Daemon, Handles},
    signals::Signals,
    sources::Sources,
    steering::Steering,
};
use crate::{
    admin::Door,
    datapath::Datapath,
    host::{self, Host},
    settings::Config,
};

/// Runs the daemon until SIGTERM or SIGINT. Blocks.
///
/// # Errors
///
/// What kept it from starting, or from leaving the host as it was found. What was done until then
/// is undone.
pub fn run(config: Config) -> anyhow::Result<()> {
    privilege::check()?;
    host::check_source_ports(&config.node.source_ports)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_daemon(config))
}

async fn run_daemon(config: Config) -> anyhow::Result<()> {
    let (mut daemon, handles) = start(config).await?;
    let served = daemon.serve(handles).await;
    let closed = daemon.close().await;
    if let (Err(_), Err(error)) = (&served, &closed) {
        error!(error = format!("{error:#}"), "while undoing what was done");
    }
    served.and(closed)
}

/// Everything that fails without having changed the host comes first, then what another daemon
/// would refuse us: the socket, the interfaces, the namespace. Only who has all of them may take
/// what is left of an earlier daemon for leftovers. As long as the tables are empty the kernel program lets all
/// packets pass.
async fn start(config: Config) -> anyhow::Result<(Daemon, Handles)> {
    let started = Instant::now();
    let signals = Signals::listen()?;
    let door = Door::open(&config.admin.listen)?;
    let sizes = sizing::size(&config);
    let datapath = Datapath::load(&sizes, config.node.flow_timeouts)?;
    let mut kernel = datapath.kernel;
    for interface in &config.node.interfaces {
        kernel.attach(interface, config.node.xdp)?;
    }
    let load = datapath.load;
    let capacity = sizing::capacity(&sizes);
    let mut steering = Steering::new(datapath.tables, load.clone(), capacity);
    let fleet = assembly::assemble(&config.services, &mut steering.slots)?;
    let daemon = Daemon {
        host: Host::open(&config.node.state_dir).await?,
        config,
        kernel,
        fleet,
        steering,
        sources: Sources::default(),
        signals,
        load,
        started,
    };
    let handles = Handles {
        door,
        counters: datapath.counters,
        sweeper: datapath.sweeper,
        max_half_open: sizes.max_half_open,
    };
    Ok((daemon, handles))
}
