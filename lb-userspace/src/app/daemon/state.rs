//! What the daemon has while it runs: three sides that it keeps in step, and what they share.

use std::{net::TcpListener, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::desired::DesiredState;
use crate::{
    admin::{AdminHandover, AdminListener, ReloadReply, UpgradeReply},
    app::{
        operator::trace::TraceStep,
        process::signals::Signals,
        reconcile::{
            address_conflicts::AddressConflicts, answer_paths::AnswerPaths, drains::Drains,
            host_changes::HostChanges, interfaces::Interfaces, leaver_checks::LeaverChecks,
            reconciler::Reconciler, removals::Removals, repairs::Repairs, sources::Sources,
            sweep::SweepSummary,
        },
        state::{generations::Generations, last_good::ConfigText, store::StateStore},
    },
    control::LeavingServer,
    datapath::{Counters, FlowTable, Kernel, Sweeper, Watcher},
    exhaustion::ExhaustionCounters,
    fleet::Fleet,
    handover::{NewProcess, OldProcess, Refusal, ServiceTotals},
    host::{Host, HostWatch},
    load::Load,
    settings::Config,
};

pub(crate) struct Daemon {
    /// What was last read there, whether it was right or wrong.
    pub(crate) last_read: Option<String>,
    /// What `config` was read from.
    pub(crate) applied: ConfigText,
    pub(crate) config: Config,
    pub(crate) desired: DesiredState,
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
    pub(crate) succession: Succession,
}

/// The processes whose place this one took, and the one that takes this one's.
pub(crate) struct Succession {
    /// This process among those of earlier upgrades.
    pub(crate) generations: Generations,
    /// The other ones that drain, for `lb status`.
    pub(crate) draining: Arc<ArcSwap<Vec<u32>>>,
    /// At most one new process that prepares to take this one's place.
    pub(crate) upgrades: JoinSet<Upgrade>,
    /// Another process has taken this one's place, and the admin socket.
    pub(crate) successor: Option<Successor>,
    /// Both ends of the channel by which an earlier process tells what it counts.
    pub(crate) totals: (mpsc::Sender<Vec<ServiceTotals>>, mpsc::Receiver<Vec<ServiceTotals>>),
}

impl Succession {
    pub(crate) fn new(generations: Generations) -> Self {
        Self {
            draining: Arc::new(ArcSwap::from_pointee(generations.others())),
            generations,
            upgrades: JoinSet::new(),
            totals: mpsc::channel(1),
            successor: None,
        }
    }
}

/// The process that has taken this one's place.
pub(crate) struct Successor {
    pub(crate) admin: AdminHandover,
    pub(crate) process: OldProcess,
    /// What that one knows of this one's counts.
    pub(crate) told: Vec<ServiceTotals>,
    /// Who asked for the upgrade.
    pub(crate) reply: UpgradeAnswer,
}

/// A new process, and whether it could take over.
pub(crate) struct Upgrade {
    pub(crate) process: OldProcess,
    pub(crate) admin: AdminHandover,
    pub(crate) prepared: Result<(), Refusal>,
    /// Who asked for it.
    pub(crate) reply: UpgradeAnswer,
}

/// Who waits for the end of an upgrade.
pub(crate) enum UpgradeAnswer {
    /// It was a signal.
    Nobody,
    Upgrade(oneshot::Sender<Result<UpgradeReply, String>>),
    /// A reload needs it.
    Reload {
        changes: Vec<String>,
        reply: Option<oneshot::Sender<Result<ReloadReply, String>>>,
    },
}

impl UpgradeAnswer {
    /// Tells it which process serves now, or why none does. Who has gone is not told.
    pub(crate) fn send(self, done: Result<u32, String>) {
        match self {
            Self::Nobody => {}
            Self::Upgrade(reply) => drop(reply.send(done.map(|pid| UpgradeReply { pid }))),
            Self::Reload { mut changes, reply } => {
                let done = done.map(|pid| {
                    changes.push(format!("process {pid} serves; the former one drains"));
                    ReloadReply { changes, warnings: Vec::new() }
                });
                if let Some(reply) = reply {
                    let _ = reply.send(done);
                }
            }
        }
    }
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
    /// This process takes another one's place.
    pub(crate) new: Option<NewProcess>,
    /// The proxy's sockets of that one. Empty: they are to be opened.
    pub(crate) listeners: Vec<TcpListener>,
}
