//! `lb run`: the daemon's start, its life, and what stays after it.

use std::{path::Path, sync::Arc, time::Instant};

use ::tracing::{error, warn};
use tokio::sync::{mpsc, watch};

use super::state::{Daemon, FleetSide, Handles, HostSide, KernelSide};
use crate::{
    admin::AdminListener,
    app::{
        process::{privilege, signals::Signals},
        reconcile::{
            address_conflicts::AddressConflicts,
            answer_paths::AnswerPaths,
            drains::{self, Drains, Moment},
            fleet_builder,
            host_changes::HostChanges,
            interfaces::Interfaces,
            leaver_checks::LeaverChecks,
            reconciler::Reconciler,
            removals::Removals,
            repairs::Repairs,
            sources::Sources,
            sweep::SweepSummary,
            table_sizes,
        },
        state::{
            id_log::IdLog,
            last_good::ConfigText,
            store::{DrainRecord, StateStore},
        },
    },
    control::StableIds,
    datapath::{Datapath, Kernel, Pins},
    fleet::Fleet,
    host::{self, Host, HostWatch},
    settings::{Config, Node},
};

/// Returns whether a daemon holds the data path that is pinned in `pin_dir`.
#[must_use]
pub fn is_running(pin_dir: &Path) -> bool {
    Pins::are_held(pin_dir)
}

/// Runs the daemon until SIGTERM or SIGINT, with `config`, which `source` says. Blocks.
/// The pass-through data path outlives it.
///
/// # Errors
///
/// The start failed. What it had done is undone, and what an earlier daemon left goes on.
pub fn run(source: ConfigText, config: Config) -> anyhow::Result<()> {
    privilege::check("lb run")?;
    host::check_source_ports(&config.node.source_ports)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_daemon(source, config))
}

async fn run_daemon(source: ConfigText, config: Config) -> anyhow::Result<()> {
    let (mut daemon, handles) = start(source, config).await?;
    let served = daemon.serve(handles).await;
    if daemon.has_taken_over() {
        daemon.report_what_stays();
    } else if let Err(error) = daemon.undo().await {
        error!(error = format!("{error:#}"), "cannot undo what was done");
    }
    served
}

/// Takes everything that the daemon needs, in an order that lets a failed start change nothing.
///
/// First comes what fails without having changed the host, then what another daemon would hold:
/// the socket, the data path, the namespace. Only a process that has all three may adopt what an
/// earlier daemon left. The kernel program lets all packets pass as long as the tables are empty.
async fn start(source: ConfigText, config: Config) -> anyhow::Result<(Daemon, Handles)> {
    let started = Instant::now();
    let signals = Signals::listen()?;
    let admin = AdminListener::open(&config.admin.listen)?;
    let pins = Pins::open(&config.node.pin_dir)?;
    let host = HostSide::open(&config, started).await?;
    let sizes = table_sizes::size(&config);
    let mut datapath = Datapath::adopt(&sizes, config.node.flow_timeouts, pins)?;
    let interfaces = attach(&mut datapath.kernel, &config.node, &host.network).await?;
    let store = StateStore::new(&config.node.state_dir, datapath.maps);
    let (recorded, now) = (store.drains(), Moment::now());
    let (swept, sweeps) = watch::channel(SweepSummary::default());
    let mut reconciler = Reconciler::resume(
        datapath.tables,
        datapath.load.clone(),
        IdLog::new(store.clone()),
        datapath.lifetimes,
        sweeps,
        &config,
        |service, server| drains::departure(&recorded, service, server, now),
    )?;
    let fleet = FleetSide::resume(&config, &mut reconciler.ids, &store, recorded, now)?;
    let daemon = Daemon {
        last_read: Some(source.text.clone()),
        file: source.file.clone(),
        config,
        kernel: KernelSide {
            program: datapath.kernel,
            interfaces,
            reconciler,
            flows: datapath.flows,
            watcher: datapath.watcher,
        },
        host,
        fleet,
        store,
        signals,
        load: datapath.load,
        exhaustion: Arc::default(),
        trace_steps: mpsc::channel(1),
        started,
    };
    keep_last_good(&source, &daemon.config.node);
    let handles = Handles {
        admin,
        counters: datapath.counters,
        sweeper: datapath.sweeper,
        swept,
        max_half_open: sizes.max_half_open,
    };
    Ok((daemon, handles))
}

/// Keeps a configuration that was applied. A daemon can do without.
pub(crate) fn keep_last_good(source: &ConfigText, node: &Node) {
    if let Err(error) = source.keep_as_last_good(&node.state_dir) {
        warn!(error = format!("{error:#}"), "cannot keep this configuration as the last good one");
    }
}

/// Attaches the kernel program to the interfaces that the configuration names.
async fn attach(kernel: &mut Kernel, node: &Node, host: &Host) -> anyhow::Result<Interfaces> {
    let mut interfaces = Interfaces::new(node);
    interfaces.begin(kernel, &host.interfaces().await?)?;
    Ok(interfaces)
}

impl HostSide {
    /// Opens the host's network and refuses announced addresses that the host itself needs.
    async fn open(config: &Config, now: Instant) -> anyhow::Result<Self> {
        let network = Host::open(&config.node.state_dir).await?;
        Ok(Self {
            conflicts: AddressConflicts::begin(&network, config).await?,
            watch: HostWatch::open()?,
            changes: HostChanges::new(now),
            repairs: Repairs::default(),
            answer_paths: AnswerPaths::default(),
            network,
        })
    }
}

impl FleetSide {
    /// Builds the configured services, with the health and the drains that an earlier daemon
    /// recorded.
    fn resume(
        config: &Config,
        ids: &mut StableIds,
        store: &StateStore,
        recorded: Vec<DrainRecord>,
        now: Moment,
    ) -> anyhow::Result<Self> {
        let running = fleet_builder::build_fleet(&Fleet::default(), &config.services, ids)?;
        let drains = Drains::resume(&running, recorded, now);
        fleet_builder::resume_health(&running, &store.down());
        let sources = Sources::new(&config.node, fleet_builder::addresses(&running));
        let leaver_checks = LeaverChecks::new(Instant::now());
        let removals = Removals::default();
        Ok(Self { running, drains, removals, leavers: Arc::default(), leaver_checks, sources })
    }
}
