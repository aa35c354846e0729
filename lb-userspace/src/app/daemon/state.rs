//! What the daemon has while it runs: three sides that it keeps in step, and what they share.

use std::{path::PathBuf, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::{
    admin::AdminListener,
    app::{
        operator::trace::TraceStep,
        process::signals::Signals,
        reconcile::{
            address_conflicts::AddressConflicts, answer_paths::AnswerPaths, drains::Drains,
            host_changes::HostChanges, interfaces::Interfaces, leaver_checks::LeaverChecks,
            reconciler::Reconciler, removals::Removals, repairs::Repairs, sources::Sources,
            sweep::SweepSummary,
        },
        state::store::StateStore,
    },
    control::LeavingServer,
    datapath::{Counters, FlowTable, Kernel, Sweeper, Watcher},
    exhaustion::ExhaustionCounters,
    fleet::Fleet,
    host::{Host, HostWatch},
    load::Load,
    settings::Config,
};

pub(crate) struct Daemon {
    /// The file that the configuration comes from.
    pub(crate) file: PathBuf,
    /// What was last read there, whether it was right or wrong.
    pub(crate) last_read: Option<String>,
    pub(crate) config: Config,
    pub(crate) kernel: KernelSide,
    pub(crate) host: HostSide,
    pub(crate) fleet: FleetSide,
    /// Files for the next daemon.
    pub(crate) store: StateStore,
    pub(crate) signals: Signals,
    /// Live connections of each server, counted by the kernel and the proxy.
    pub(crate) load: Load,
    /// What this host had too little of.
    pub(crate) exhaustion: Arc<ExhaustionCounters>,
    /// Both ends of the channel by which a trace attaches and detaches its program.
    pub(crate) trace_steps: (mpsc::Sender<TraceStep>, mpsc::Receiver<TraceStep>),
    pub(crate) started: Instant,
}

/// The kernel program, where it is attached, and the tables that it reads.
pub(crate) struct KernelSide {
    pub(crate) program: Kernel,
    pub(crate) interfaces: Interfaces,
    pub(crate) reconciler: Reconciler,
    pub(crate) flows: Arc<FlowTable>,
    pub(crate) watcher: Arc<Watcher>,
}

/// This host's network: what lb needs of it, and what others change in it.
pub(crate) struct HostSide {
    pub(crate) network: Host,
    pub(crate) watch: HostWatch,
    /// Changes that the kernel reported and that are still to be looked at.
    pub(crate) changes: HostChanges,
    pub(crate) conflicts: AddressConflicts,
    pub(crate) repairs: Repairs,
    pub(crate) answer_paths: AnswerPaths,
}

/// The running services and their servers.
pub(crate) struct FleetSide {
    pub(crate) running: Fleet,
    pub(crate) drains: Drains,
    pub(crate) removals: Removals,
    /// Servers that left the configuration and have flows.
    pub(crate) leavers: Arc<ArcSwap<Vec<LeavingServer>>>,
    pub(crate) leaver_checks: LeaverChecks,
    /// The source addresses of packets to the servers.
    pub(crate) sources: Sources,
}

/// What is moved into tasks of their own once the daemon serves.
pub(crate) struct Handles {
    pub(crate) admin: AdminListener,
    pub(crate) counters: Counters,
    pub(crate) sweeper: Sweeper,
    pub(crate) swept: watch::Sender<SweepSummary>,
    pub(crate) max_half_open: u32,
}
