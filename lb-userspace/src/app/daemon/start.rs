//! The daemon's start.

use std::{path::Path, sync::Arc, time::Instant};

use ::tracing::error;
use tokio::sync::{mpsc, watch};

use super::state::{Daemon, Handles};
use crate::{
    admin::AdminListener,
    app::{
        process::{privilege, signals::Signals},
        reconcile::{
            address_conflicts::AddressConflicts,
            answer_paths::AnswerPaths,
            draining::{self, Draining, Moment},
            fleet_builder,
            host_changes::HostChanges,
            interfaces::Interfaces,
            reconciler::Reconciler,
            repairs::Repairs,
            sources::Sources,
            sweeping::Swept,
            table_sizes,
        },
        state::{id_log::IdLog, notes::Notes},
    },
    datapath::{Datapath, Pins},
    host::{self, Host, HostWatch},
    settings::Config,
};

/// Whether a daemon holds the data path that has its names in `pin_dir`.
#[must_use]
pub fn is_running(pin_dir: &Path) -> bool {
    Pins::are_held(pin_dir)
}

/// Runs the daemon until SIGTERM or SIGINT. Blocks. The pass-through data path goes on after it.
///
/// # Errors
///
/// What kept it from starting; what was done until then is undone, and what an earlier daemon left
/// goes on.
pub fn run(config: Config) -> anyhow::Result<()> {
    privilege::check("lb run")?;
    host::check_source_ports(&config.node.source_ports)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_daemon(config))
}

async fn run_daemon(config: Config) -> anyhow::Result<()> {
    let (mut daemon, handles) = start(config).await?;
    let served = daemon.serve(handles).await;
    if daemon.is_first() {
        if let Err(error) = daemon.undo().await {
            error!(error = format!("{error:#}"), "while undoing what was done");
        }
    } else {
        daemon.say_what_stays();
    }
    served
}

/// Everything that fails without having changed the host comes first, then what another daemon
/// would refuse us: the socket, the data path, the namespace. Only who has all of them may take
/// what is left of an earlier daemon for its own. As long as the tables are empty the kernel
/// program lets all packets pass.
async fn start(config: Config) -> anyhow::Result<(Daemon, Handles)> {
    let started = Instant::now();
    let (signals, admin) = (Signals::listen()?, AdminListener::open(&config.admin.listen)?);
    let pins = Pins::open(&config.node.pin_dir)?;
    let host = Host::open(&config.node.state_dir).await?;
    let (conflicts, watch) = (AddressConflicts::begin(&host, &config).await?, HostWatch::open()?);
    let sizes = table_sizes::size(&config);
    let datapath = Datapath::adopt(&sizes, config.node.flow_timeouts, pins)?;
    let mut kernel = datapath.kernel;
    let mut interfaces = Interfaces::new(&config.node);
    interfaces.begin(&mut kernel, &host.interfaces().await?)?;
    let (load, notes) = (datapath.load, Notes::new(&config.node.state_dir, datapath.maps));
    let (swept, sweeps) = watch::channel(Swept::default());
    let (noted, now) = (notes.drains(), Moment::now());
    let mut reconciler = Reconciler::resume(
        datapath.tables,
        load.clone(),
        IdLog::new(notes.clone()),
        datapath.lifetimes,
        sweeps,
        &config,
        |service, server| draining::departure(&noted, service, server, now),
    )?;
    let fleet = fleet_builder::build_fleet(&config.services, &mut reconciler.slots)?;
    let draining = Draining::resume(&fleet, noted, now);
    fleet_builder::resume_health(&fleet, &notes.down());
    let sources = Sources::new(&config.node, fleet_builder::addresses(&fleet));
    let daemon = Daemon {
        config,
        kernel,
        host,
        conflicts,
        answer_paths: AnswerPaths::default(),
        watch,
        heard: HostChanges::new(started),
        repairs: Repairs::default(),
        notes,
        interfaces,
        fleet,
        reconciler,
        sources,
        draining,
        signals,
        load,
        lacks: Arc::default(),
        flows: datapath.flows,
        watcher: datapath.watcher,
        steps: mpsc::channel(1),
        leavers: Arc::default(),
        started,
    };
    let handles = Handles {
        admin,
        counters: datapath.counters,
        sweeper: datapath.sweeper,
        swept,
        max_half_open: sizes.max_half_open,
    };
    Ok((daemon, handles))
}
