//! `lb run`: the daemon's start, its life, and what stays after it.

use std::{net::TcpListener, path::Path, sync::Arc, time::Instant};

use ::tracing::{error, warn};
use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use super::{
    desired::DesiredState,
    state::{Daemon, FleetSide, Handles, HostSide, KernelSide, Succession},
    upgrade,
};
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
            generations::Generations,
            id_log::IdLog,
            last_good::ConfigText,
            store::{DrainRecord, StateStore},
        },
    },
    control::StableIds,
    datapath::{Datapath, Kernel, Pins},
    fleet::Fleet,
    handover::{self, HandoverState, NewProcess, TicketKeys},
    host::{self, Host, HostLocks, HostWatch},
    proxy::TicketSecrets,
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
    let new = NewProcess::from_environment()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_daemon(source, config, new))
}

async fn run_daemon(
    source: ConfigText,
    config: Config,
    mut new: Option<NewProcess>,
) -> anyhow::Result<()> {
    let is_new = new.is_some();
    let started = match DesiredState::begin(&source, config) {
        Ok((desired, config)) => start(source, desired, config, &mut new).await,
        Err(error) => Err(error),
    };
    let (mut daemon, mut handles) = match started {
        Ok(started) => started,
        Err(error) => return Err(refused(new, error).await),
    };
    daemon.keep_last_good();
    daemon.succession.generations.save();
    handles.new = new;
    let served = match daemon.serve(handles).await {
        Ok(Some(replaced)) => {
            upgrade::end_replaced(daemon, replaced).await;
            return Ok(());
        }
        served => served.map(drop),
    };
    if is_new && served.is_err() {
        // What is on the host is the other process's.
        return served;
    }
    if daemon.has_taken_over() {
        daemon.report_what_stays();
    } else if let Err(error) = daemon.undo().await {
        error!(error = format!("{error:#}"), "cannot undo what was done");
    }
    served
}

/// Tells the process whose place was to be taken why that is not possible.
async fn refused(new: Option<NewProcess>, error: anyhow::Error) -> anyhow::Error {
    if let Some(mut new) = new {
        new.failed(format!("{error:#}")).await;
    }
    error
}

/// Takes everything that the daemon needs, in an order that lets a failed start change nothing.
///
/// First comes what fails without having changed the host, then what another daemon would hold:
/// the socket, the data path, the namespace. Only a process that has all three, by itself or with
/// the one whose place it takes, may adopt what an earlier daemon left. The kernel program lets all
/// packets pass as long as the tables are empty.
async fn start(
    source: ConfigText,
    desired: DesiredState,
    config: Config,
    new: &mut Option<NewProcess>,
) -> anyhow::Result<(Daemon, Handles)> {
    let started = Instant::now();
    let signals = Signals::listen()?;
    let (admin, pins) = open_doors(&config, new)?;
    let host = HostSide::open(&config, new, started).await?;
    let known = new.as_ref().map(NewProcess::generations).transpose()?;
    let generations = Generations::take(&config.node.state_dir, known)?;
    let sizes = table_sizes::size(&config);
    let mut datapath =
        Datapath::adopt(&sizes, config.node.flow_timeouts, pins, &generations.generation())?;
    let (handed, listeners) = step_in(&config, new).await?;
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
    upgrade::add_totals(&fleet.running, &handed.totals);
    let Datapath { kernel: program, flows, watcher, load, counters, sweeper, .. } = datapath;
    let kernel = KernelSide { program, interfaces, reconciler, flows, watcher };
    let daemon = Daemon {
        last_read: Some(source.text.clone()),
        applied: source,
        config,
        desired,
        kernel,
        host,
        fleet,
        store,
        signals,
        load,
        exhaustion: Arc::default(),
        trace_steps: mpsc::channel(1),
        started,
        succession: Succession::new(generations),
    };
    let handles = Handles {
        admin,
        counters,
        sweeper,
        swept,
        max_half_open: sizes.max_half_open,
        new: None,
        listeners,
    };
    Ok((daemon, handles))
}

/// Takes the admin socket and the directory of pins, or shares those of the process whose place is
/// taken.
fn open_doors(
    config: &Config,
    new: &mut Option<NewProcess>,
) -> anyhow::Result<(AdminListener, Pins)> {
    let (socket, pins) = (&config.admin.listen, &config.node.pin_dir);
    let Some(new) = new else {
        return Ok((AdminListener::open(socket)?, Pins::open(pins)?));
    };
    let (listener, lock) = (new.descriptor("admin")?, new.descriptor("admin_lock")?);
    let admin = AdminListener::inherit(socket, listener, lock)?;
    Ok((admin, Pins::inherit(pins, new.descriptor("pins")?)?))
}

/// Waits until the process whose place is taken has stepped back. Returns what it hands over, and
/// the proxy's listeners. Without one there is nothing of both.
async fn step_in(
    config: &Config,
    new: &mut Option<NewProcess>,
) -> anyhow::Result<(HandoverState, Vec<TcpListener>)> {
    let Some(new) = new else {
        let listeners = handover::stored_listeners().context("from the service manager")?;
        return Ok((HandoverState::default(), listeners));
    };
    let handed = new.prepared().await?;
    if let Some(TicketKeys { current, previous, remaining }) = handed.tickets.clone() {
        let secrets = TicketSecrets { current, previous, remaining };
        if let Err(error) = secrets.go_on(config.proxy.ticket_rotation) {
            warn!(%error, "clients make a full TLS handshake each");
        }
    }
    Ok((handed, new.listeners()))
}

/// Attaches the kernel program to the interfaces that the configuration names.
async fn attach(kernel: &mut Kernel, node: &Node, host: &Host) -> anyhow::Result<Interfaces> {
    let mut interfaces = Interfaces::new(node);
    interfaces.begin(kernel, &host.interfaces().await?)?;
    Ok(interfaces)
}

impl HostSide {
    /// Opens the host's network and refuses announced addresses that the host itself needs.
    async fn open(
        config: &Config,
        new: &mut Option<NewProcess>,
        now: Instant,
    ) -> anyhow::Result<Self> {
        let state_dir = &config.node.state_dir;
        let network = match new {
            Some(new) => {
                let namespace = new.descriptor("namespace")?;
                let locks = HostLocks { namespace, state_dir: new.descriptor("state_dir")? };
                Host::inherit(state_dir, locks).await?
            }
            None => Host::open(state_dir).await?,
        };
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
