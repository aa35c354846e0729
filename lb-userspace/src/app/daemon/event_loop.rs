//! The daemon's life between an attached kernel program and one that goes on without it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::tracing::{error, info, warn};
use anyhow::Context as _;
use tokio::{
    select,
    sync::mpsc,
    task::{self, JoinSet},
    time::{self, MissedTickBehavior},
};

use super::state::{Daemon, Handles};
use crate::app::{
    operator::{
        explain,
        flow_list::{self, ServiceNames},
        status_report::{Reported, StatusReport},
        trace::{self, TraceStep},
    },
    process::signals::SignalOrder,
    reconcile::{
        certificates,
        draining::{self, Moment},
        fleet_builder,
        sweeping::{self},
    },
};
use crate::{
    admin::{Asked, Drain, Drained, Explanation, Order, Orders, Question},
    health::{Monitor, Prefaces, Transition},
    proxy::{self, CertificateStore, HandshakeStats},
};

/// Between looks at all of the host's network, also where the kernel told of nothing.
const TEND: Duration = Duration::from_secs(5);
/// Between looks at whether the data path is where we put it.
const GUARD: Duration = Duration::from_secs(1);
/// Between looks at whether the flows of servers that left the configuration have ended.
const LEAVING: Duration = Duration::from_secs(1);
/// Orders under way from the admin socket to the event loop.
const ORDERS: usize = 16;
/// Health transitions under way to the event loop.
const TRANSITIONS: usize = 1024;

/// Sleeps until `due`; is not to be awaited where nothing is.
async fn until(due: Option<Instant>) {
    time::sleep_until(due.unwrap_or_else(Instant::now).into()).await;
}

impl Daemon {
    /// Serves until the operator says stop, and drains.
    ///
    /// The order is that of a packet's way, backwards: who takes a connection is there before the
    /// kernel's tables lead to it, those before our program takes the place of an earlier one, and
    /// that before the routes that make the addresses ours.
    pub(crate) async fn serve(&mut self, handles: Handles) -> anyhow::Result<()> {
        let certificates = certificates::open_certificates(&self.config.certificates);
        let proxy = self.start_proxy(&certificates)?;
        self.prepare_host().await?;
        if let Err(error) = self.note_drains() {
            warn!(error = format!("{error:#}"), "cannot note who drains");
        }
        self.steer().await?;
        self.reconciler.declare(&self.fleet);
        self.kernel.take_over()?;
        self.host.announce(&fleet_builder::addresses(&self.fleet)).await?;
        let mut tasks = JoinSet::new();
        let (orders, ordered) = mpsc::channel(ORDERS);
        let handshakes = proxy.handshakes().clone();
        self.start_tasks(handles, handshakes, certificates.clone(), orders, &mut tasks);
        tasks.spawn(async { match certificates.follow().await {} });
        let (sender, transitions) = mpsc::channel(TRANSITIONS);
        let down = fleet_builder::down(&self.fleet);
        let is_up = |service: &str, server| !down.contains(&(service.to_owned(), server));
        let means = self.means(proxy.kept())?;
        let monitor = Monitor::start(&self.config.services, is_up, &sender, means);
        let prefaces = Prefaces::start(&self.fleet);
        info!(services = self.fleet.services.len(), "ready");
        self.follow(transitions, ordered).await;
        drop((monitor, prefaces));
        // The data path goes on without us, and nobody will listen.
        self.end_trace();
        self.drain(proxy).await;
        Ok(())
    }

    fn start_tasks(
        &self,
        handles: Handles,
        handshakes: Arc<HandshakeStats>,
        certificates: Arc<CertificateStore>,
        orders: Orders,
        tasks: &mut JoinSet<()>,
    ) {
        let report = StatusReport {
            started: self.started,
            interfaces: self.interfaces.shown(),
            services: Reported::all(&self.fleet, &self.reconciler.slots),
            leavers: self.leavers.clone(),
            counters: handles.counters,
            load: self.load.clone(),
            swept: handles.swept.subscribe(),
            max_flows: self.config.node.max_flows,
            handshakes,
            certificates,
            max_half_open: handles.max_half_open,
            source_ports: self.sources.shown.clone(),
            lacks: self.lacks.clone(),
            troubles: self.answer_paths.troubles.clone(),
            repaired: self.repairs.counts(),
        };
        tasks.spawn(sweeping::sweep(handles.sweeper, handles.swept));
        let admin = handles.admin.serve(move || Ok(report.status()?), orders);
        tasks.spawn(async { match admin.await {} });
    }

    /// Takes in events until the operator says stop.
    async fn follow(
        &mut self,
        mut transitions: mpsc::Receiver<Transition>,
        mut orders: mpsc::Receiver<Order>,
    ) {
        let mut tend = time::interval(TEND);
        tend.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut guard = time::interval(GUARD);
        guard.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (due, host_due) = (self.due(), self.host_due());
            select! {
                order = self.signals.order() => match order {
                    SignalOrder::Stop => return,
                    SignalOrder::Reload => warn!("cannot reload yet: restart lb to apply a changed configuration"),
                },
                Some(transition) = transitions.recv() => {
                    fleet_builder::note(&self.fleet, &transition);
                    while let Ok(transition) = transitions.try_recv() {
                        fleet_builder::note(&self.fleet, &transition);
                    }
                    self.note_health();
                    self.replan().await;
                }
                Some(order) = orders.recv() => self.obey(order).await,
                Some(step) = self.steps.1.recv() => self.trace(step),
                () = until(due), if due.is_some() => {
                    self.draining.expel(Instant::now());
                    self.replan().await;
                }
                changes = self.watch.changed() => self.heard.add(changes),
                () = until(host_due), if host_due.is_some() => {
                    self.heed().await;
                }
                _ = tend.tick() => self.tend().await,
                _ = guard.tick() => self.guard(),
            }
        }
    }

    /// When something is to be done for servers that drain or have left.
    fn due(&self) -> Option<Instant> {
        let leaving = self.reconciler.is_retiring().then(|| Instant::now() + LEAVING);
        self.draining.next().into_iter().chain(leaving).min()
    }

    async fn obey(&mut self, order: Order) {
        // Whoever asked may have gone.
        match order {
            Order::Drain(asked) => {
                let done = self.drain_server(&asked.what).await;
                let _ = asked.done.send(done);
            }
            Order::Flows(asked) => {
                let (flows, names) = (self.flows.clone(), self.names());
                // The table may be large.
                task::spawn_blocking(move || {
                    let listed = names.check(&asked.what.selector);
                    let listed = listed.map(|()| flow_list::list(&flows, &names, &asked.what));
                    let _ = asked.done.send(listed);
                });
            }
            Order::Explain(asked) => self.explain(asked),
            Order::Trace(asked) => {
                let (watcher, names) = (self.watcher.clone(), self.names());
                task::spawn(trace::trace(watcher, names, asked, self.steps.0.clone()));
            }
        }
    }

    async fn drain_server(&mut self, order: &Drain) -> Result<Drained, String> {
        self.draining.order(&self.fleet, order, Moment::now())?;
        self.replan().await;
        let noted = self.note_drains();
        noted.map_err(|error| format!("done, but a restart of lb would forget it: {error:#}"))?;
        let warning = draining::closed(&self.fleet, &order.service);
        if let Some(warning) = &warning {
            warn!("{warning}");
        }
        Ok(Drained { warning })
    }

    fn explain(&self, asked: Asked<Question, Explanation>) {
        let (watcher, names) = (self.watcher.clone(), self.names());
        let troubles = self.answer_paths.troubles.clone();
        let interface = asked.what.interface.clone();
        let first = || self.interfaces.names().first().map(|name| (*name).to_owned());
        let Some(interface) = interface.or_else(first) else {
            let _ = asked.done.send(Err("no interface is attached: name one".to_owned()));
            return;
        };
        if !self.interfaces.names().contains(&&*interface) {
            let names = self.interfaces.names().join(", ");
            let _ = asked.done.send(Err(format!(
                "lb is not on {interface}, and sees no packet that comes in by it; it is on {names}"
            )));
            return;
        }
        // The first one waits for the verifier.
        task::spawn_blocking(move || {
            let explained = explain::explain(&watcher, &names, &asked.what, &interface);
            let explained = explained.map(|it| explain::warn(it, &troubles.load()));
            let _ = asked.done.send(explained);
        });
    }

    /// A trace begins or ends.
    fn trace(&mut self, step: TraceStep) {
        match step {
            TraceStep::Begin(tracer, begun) => {
                let done = self.kernel.trace(Some(tracer));
                let _ = begun.send(done.map_err(|error| format!("cannot trace: {error}")));
            }
            TraceStep::End => self.end_trace(),
        }
    }

    fn end_trace(&mut self) {
        if let Err(error) = self.kernel.trace(None) {
            error!(error = format!("{error:#}"), "an interface goes on being traced");
        }
    }

    fn names(&self) -> ServiceNames {
        ServiceNames::of(&self.fleet, &self.reconciler.slots)
    }

    /// For the next daemon, which does without where this fails.
    pub(crate) fn note_health(&self) {
        if let Err(error) = self.notes.write_down(&fleet_builder::down(&self.fleet)) {
            warn!(error = format!("{error:#}"), "cannot note who is down");
        }
    }

    /// Lets the proxy's connections end. A second order to stop cuts them off.
    async fn drain(&mut self, proxy: proxy::Running) {
        let within = self.config.proxy.drain_timeout;
        info!(within = ?within, "draining; a second signal cuts connections off");
        select! {
            () = proxy.drain(within) => info!("drained"),
            () = self.signals.stop() => {
                warn!("cutting connections off");
                proxy.cut().await;
            }
        }
    }

    /// Whether nothing of ours would go on without us: an earlier daemon left nothing, and we have
    /// not taken over.
    pub(crate) fn is_first(&self) -> bool {
        !self.kernel.outlives()
    }

    /// At the end. What others took down in the last moment is put back before.
    pub(crate) fn say_what_stays(&mut self) {
        for damage in self.kernel.damage() {
            if let Err(error) = self.kernel.mend(&damage, self.interfaces.mode) {
                warn!(%damage, %error, "cannot be put back");
            }
        }
        match &self.kernel.damage()[..] {
            [] => info!("the pass-through data path goes on without us; `lb detach` takes it down"),
            damage => {
                let gone = damage.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                error!(gone, "not all of the pass-through data path goes on without us");
            }
        }
    }

    /// Leaves the host as it was found.
    pub(crate) async fn undo(self) -> anyhow::Result<()> {
        let Self { kernel, host, .. } = self;
        let left = host.close().await;
        drop(kernel);
        left.map(drop).context("cannot leave the host as it was found")
    }
}
