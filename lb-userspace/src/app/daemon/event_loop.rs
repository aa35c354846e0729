//! The daemon's life between an attached kernel program and one that goes on without it.

use std::{
    mem::take,
    sync::Arc,
    time::{Duration, Instant},
};

use ::tracing::{info, warn};
use arc_swap::ArcSwap;
use tokio::{
    select,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{self, MissedTickBehavior},
};

use super::{
    serving::{ProxySide, Serving},
    state::{Daemon, Handles, UpgradeAnswer},
    upgrade::{self, Replaced},
};
use crate::{
    admin::{
        AdminRequest, ApiThread, Context, Event, ReloadRequest, RequestSender, UpgradeRequest,
    },
    app::{
        operator::status_report::{ReportedService, StatusReport},
        process::{config_watch, service_manager, signals::SignalOrder},
        reconcile::{fleet_builder, sweep},
    },
    health::Transition,
};

/// Between looks at all of the host's network, even if the kernel reported no change.
const RESYNC: Duration = Duration::from_secs(5);
/// Between looks at whether the data path is still as lb set it up.
const DATAPATH_CHECK: Duration = Duration::from_secs(1);
/// Requests under way from the admin socket to the event loop.
const REQUESTS: usize = 16;
/// Health transitions under way to the event loop.
const TRANSITIONS: usize = 1024;

impl Daemon {
    /// Serves until the operator says stop, and drains; or until another process has taken this
    /// one's place.
    ///
    /// The order is that of a packet's path, backwards: the proxy listens before the kernel's
    /// tables lead to it, the tables are filled before our program replaces that of an earlier
    /// daemon, and that happens before the routes that make the addresses ours.
    pub(crate) async fn serve(&mut self, mut handles: Handles) -> anyhow::Result<Option<Replaced>> {
        let (new, listeners) = (handles.new.take(), take(&mut handles.listeners));
        let proxy = self.start_proxy(listeners)?;
        self.prepare_host().await?;
        if let Err(error) = self.save_drains() {
            warn!(error = format!("{error:#}"), "cannot record which servers drain");
        }
        self.take_over().await?;
        let mut tasks = JoinSet::new();
        let (sender, requests) = mpsc::channel(REQUESTS);
        let reported = Arc::new(ArcSwap::from_pointee(self.reported_services()));
        let sweeping = watch::Sender::new(true);
        let admin = handles.admin.handover();
        self.start_tasks(handles, &proxy, &reported, &sweeping, sender, &mut tasks)?;
        let (sender, transitions) = mpsc::channel(TRANSITIONS);
        let checks = self.start_checks(proxy.running.kept(), &sender)?;
        if let Some(mut new) = new {
            // If the other one has ended meanwhile, it needs not be told.
            let _ = new.serving().await;
            tasks.spawn(new.follow(self.succession.totals.0.clone()));
        }
        service_manager::ready(proxy.running.listeners());
        info!(services = self.fleet.running.services.len(), "ready");
        let mut serving = Serving { proxy, checks, reported, sweeping, admin };
        self.handle_events(&mut serving, transitions, requests).await;
        if let Some(successor) = self.succession.successor.take() {
            return Ok(Some(Replaced { successor, serving, tasks }));
        }
        let Serving { proxy, .. } = serving;
        service_manager::stopping();
        // The data path goes on without us, and nobody would read the trace.
        self.end_trace();
        self.drain(proxy.running).await;
        Ok(None)
    }

    /// Fills the tables, puts our program in the place of an earlier one, and makes the announced
    /// addresses local.
    async fn take_over(&mut self) -> anyhow::Result<()> {
        self.try_reconcile().await?;
        self.kernel.reconciler.declare(&self.fleet.running);
        self.kernel.program.take_over()?;
        let addresses = fleet_builder::addresses(&self.fleet.running);
        Ok(self.host.network.announce(&addresses).await?)
    }

    /// Starts the sweeper, the admin socket, and the watch over certificates.
    fn start_tasks(
        &self,
        handles: Handles,
        proxy: &ProxySide,
        services: &Arc<ArcSwap<Vec<ReportedService>>>,
        sweeping: &watch::Sender<bool>,
        requests: RequestSender,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let report = StatusReport {
            started: self.started,
            draining: self.succession.draining.clone(),
            interfaces: self.kernel.interfaces.shown(),
            services: services.clone(),
            leavers: self.fleet.leavers.clone(),
            counters: handles.counters,
            load: self.load.clone(),
            swept: handles.swept.subscribe(),
            max_flows: self.config.node.max_flows,
            handshakes: proxy.running.handshakes().clone(),
            certificates: proxy.certificates.clone(),
            max_half_open: handles.max_half_open,
            source_ports: self.fleet.sources.shown.clone(),
            exhaustion: self.exhaustion.clone(),
            problems: self.host.answer_paths.problems.clone(),
            repaired: self.host.repairs.counts(),
        };
        tasks.spawn(sweep::sweep(handles.sweeper, handles.swept, sweeping.subscribe()));
        let context = Context::new(
            move || Ok(report.status()?),
            requests,
            self.desired.listing.clone(),
            self.desired.events.clone(),
            self.desired.access.clone(),
        );
        let admin = ApiThread::start(handles.admin.serve(context))?;
        tasks.spawn(async move {
            let _admin = admin;
            std::future::pending::<()>().await;
        });
        let certificates = proxy.certificates.clone();
        tasks.spawn(async { match certificates.follow().await {} });
        Ok(())
    }

    /// Handles events until the operator says stop.
    async fn handle_events(
        &mut self,
        serving: &mut Serving,
        mut transitions: mpsc::Receiver<Transition>,
        mut requests: mpsc::Receiver<AdminRequest>,
    ) {
        let mut resync = every(RESYNC);
        let mut datapath_check = every(DATAPATH_CHECK);
        let (sender, mut config_changes) = mpsc::channel(1);
        let mut watch = JoinSet::new();
        watch.spawn(config_watch::follow(self.applied.file.clone(), sender));
        loop {
            let (drain_due, host_due) = (self.drain_due(), self.host_due());
            let removal_due = self.fleet.removals.next();
            select! {
                order = self.signals.order() => match order {
                    SignalOrder::Stop => return,
                    SignalOrder::Upgrade => {
                        let nobody = UpgradeAnswer::Nobody;
                        self.begin_upgrade(serving, &UpgradeRequest::default(), nobody);
                    }
                    SignalOrder::Reload => {
                        self.reload_for(serving, &ReloadRequest::default(), None).await;
                    }
                },
                Some(transition) = transitions.recv() => {
                    self.follow_health(&transition);
                    self.follow_transitions(&mut transitions).await;
                }
                Some(Ok(upgrade)) = self.succession.upgrades.join_next() => {
                    if self.finish_upgrade(serving, upgrade).await {
                        return;
                    }
                }
                Some(totals) = self.succession.totals.1.recv() => {
                    upgrade::add_totals(&self.fleet.running, &totals);
                }
                Some(request) = requests.recv() => self.handle_request(serving, request).await,
                Some(step) = self.trace_steps.1.recv() => self.handle_trace_step(step),
                () = until(drain_due), if drain_due.is_some() => {
                    if self.fleet.drains.expel(Instant::now()) {
                        serving.proxy.running.notice();
                    }
                    self.reconcile().await;
                }
                Some(()) = config_changes.recv() => self.reload_changed(serving).await,
                () = until(removal_due), if removal_due.is_some() => {
                    self.advance_removals(serving).await;
                }
                changes = self.host.watch.changed() => self.host.changes.add(changes),
                () = until(host_due), if host_due.is_some() => self.sync_due().await,
                _ = resync.tick() => self.resync().await,
                _ = datapath_check.tick() => {
                    self.repair_datapath();
                    self.forget_generations();
                    self.expire_orders(serving).await;
                }
            }
        }
    }

    /// Applies the transitions that wait, and brings the kernel's tables to the result.
    async fn follow_transitions(&mut self, transitions: &mut mpsc::Receiver<Transition>) {
        while let Ok(transition) = transitions.try_recv() {
            self.follow_health(&transition);
        }
        self.save_health();
        self.reconcile().await;
    }

    /// Takes out of the counts what processes of earlier upgrades had when they ended: nothing, if
    /// they could end in order.
    fn forget_generations(&mut self) {
        let ended = self.succession.generations.ended();
        let others = self.succession.generations.others();
        if **self.succession.draining.load() != others {
            self.succession.draining.store(Arc::new(others));
        }
        for ended in ended {
            let connections = self.load.subtract_stale(ended);
            info!(connections, "an lb that drained after an upgrade has ended");
        }
    }

    fn follow_health(&self, transition: &Transition) {
        fleet_builder::apply_transition(&self.fleet.running, transition);
        self.desired.events.tell(Event::Health {
            service: transition.service.to_string(),
            server: transition.server,
            up: transition.up,
        });
    }

    /// Returns the services as `lb status` shows them.
    pub(crate) fn reported_services(&self) -> Vec<ReportedService> {
        ReportedService::all(&self.fleet.running, &self.kernel.reconciler.ids)
    }

    /// When something is to be done for servers that drain or have left.
    fn drain_due(&self) -> Option<Instant> {
        let retires = self.kernel.reconciler.is_retiring();
        let leaving = retires.then(|| self.fleet.leaver_checks.due());
        self.fleet.drains.next().into_iter().chain(leaving).min()
    }
}

fn every(period: Duration) -> time::Interval {
    let mut interval = time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Sleeps until `due`; must not be awaited if nothing is due.
async fn until(due: Option<Instant>) {
    time::sleep_until(due.unwrap_or_else(Instant::now).into()).await;
}
