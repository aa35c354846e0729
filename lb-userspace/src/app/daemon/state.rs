//! What the daemon has while it runs.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::app::{
    operator::trace::TraceStep,
    process::signals::Signals,
    reconcile::{
        address_conflicts::AddressConflicts, answer_paths::AnswerPaths, draining::Draining,
        host_changes::HostChanges, interfaces::Interfaces, reconciler::Reconciler,
        repairs::Repairs, sources::Sources, sweeping::Swept,
    },
    state::notes::Notes,
};
use crate::{
    admin::AdminListener,
    control::Leaver,
    datapath::{Counters, FlowTable, Kernel, Sweeper, Watcher},
    fleet::Fleet,
    host::{Host, HostWatch},
    lack::Lacks,
    load::Load,
    settings::Config,
};

pub(crate) struct Daemon {
    pub(crate) config: Config,
    pub(crate) kernel: Kernel,
    pub(crate) host: Host,
    pub(crate) conflicts: AddressConflicts,
    pub(crate) answer_paths: AnswerPaths,
    pub(crate) watch: HostWatch,
    pub(crate) heard: HostChanges,
    pub(crate) repairs: Repairs,
    pub(crate) notes: Notes,
    pub(crate) interfaces: Interfaces,
    pub(crate) fleet: Fleet,
    pub(crate) reconciler: Reconciler,
    pub(crate) sources: Sources,
    pub(crate) draining: Draining,
    pub(crate) signals: Signals,
    pub(crate) load: Load,
    /// What this host had too little of.
    pub(crate) lacks: Arc<Lacks>,
    pub(crate) flows: Arc<FlowTable>,
    pub(crate) watcher: Arc<Watcher>,
    /// Servers that left the configuration and have flows.
    pub(crate) leavers: Arc<ArcSwap<Vec<Leaver>>>,
    /// Of a trace.
    pub(crate) steps: (mpsc::Sender<TraceStep>, mpsc::Receiver<TraceStep>),
    pub(crate) started: Instant,
}

/// What tasks of their own take over.
pub(crate) struct Handles {
    pub(crate) admin: AdminListener,
    pub(crate) counters: Counters,
    pub(crate) sweeper: Sweeper,
    pub(crate) swept: watch::Sender<Swept>,
    pub(crate) max_half_open: u32,
}
