//! What the daemon has while it runs.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::{
    announcing::Announcing, answers::Answers, draining::Draining, host_changes::HostChanges,
    notes::Notes, repairs::Repairs, signals::Signals, sources::Sources, steering::Reconciler,
    sweeping::Swept, tracing::TraceStep, uplinks::Uplinks,
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

pub(super) struct Daemon {
    pub(super) config: Config,
    pub(super) kernel: Kernel,
    pub(super) host: Host,
    pub(super) announcing: Announcing,
    pub(super) answers: Answers,
    pub(super) watch: HostWatch,
    pub(super) heard: HostChanges,
    pub(super) repairs: Repairs,
    pub(super) notes: Notes,
    pub(super) uplinks: Uplinks,
    pub(super) fleet: Fleet,
    pub(super) steering: Reconciler,
    pub(super) sources: Sources,
    pub(super) draining: Draining,
    pub(super) signals: Signals,
    pub(super) load: Load,
    /// What this host had too little of.
    pub(super) lacks: Arc<Lacks>,
    pub(super) flows: Arc<FlowTable>,
    pub(super) watcher: Arc<Watcher>,
    /// Servers that left the configuration and have flows.
    pub(super) leavers: Arc<ArcSwap<Vec<Leaver>>>,
    /// Of a trace.
    pub(super) steps: (mpsc::Sender<TraceStep>, mpsc::Receiver<TraceStep>),
    pub(super) started: Instant,
}

/// What tasks of their own take over.
pub(super) struct Handles {
    pub(super) admin: AdminListener,
    pub(super) counters: Counters,
    pub(super) sweeper: Sweeper,
    pub(super) swept: watch::Sender<Swept>,
    pub(super) max_half_open: u32,
}
