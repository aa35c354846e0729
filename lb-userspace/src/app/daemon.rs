//! The daemon's life between an attached kernel program and a host left as it was found.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::{
    select,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{self, MissedTickBehavior},
};
use tracing::{error, info, warn};

use super::{
    assembly,
    report::{Report, Reported},
    signals::{Order, Signals},
    sources::Sources,
    steering::Steering,
    sweeping,
};
use crate::{
    admin::{Door, InterfaceStatus},
    datapath::{Counters, Kernel, Population, Sweeper},
    fleet::Fleet,
    health::{Monitor, Transition},
    host::Host,
    load::Load,
    proxy::{self, Proxy, Routes},
    settings::Config,
};

/// Between looks at the host's routes and neighbours.
const TEND: Duration = Duration::from_secs(5);
/// Health transitions under way to the event loop.
const TRANSITIONS: usize = 1024;

pub(super) struct Daemon {
    pub(super) config: Config,
    pub(super) kernel: Kernel,
    pub(super) host: Host,
    pub(super) fleet: Fleet,
    pub(super) steering: Steering,
    pub(super) sources: Sources,
    pub(super) signals: Signals,
    pub(super) load: Load,
    pub(super) started: Instant,
}

/// What tasks of their own take over.
pub(super) struct Handles {
    pub(super) door: Door,
    pub(super) counters: Counters,
    pub(super) sweeper: Sweeper,
    pub(super) max_half_open: u32,
}

impl Daemon {
    /// Serves until the operator says stop, and drains.
    ///
    /// The order is that of a packet's way, backwards: who takes a connection is there before the
    /// kernel's tables lead to it, and those before the routes that make the addresses ours.
    pub(super) async fn serve(&mut self, handles: Handles) -> anyhow::Result<()> {
        let proxy = self.start_proxy()?;
        self.prepare_host().await?;
        self.steering.replan(&self.fleet, &self.sources.known).await?;
        self.host.announce(&assembly::addresses(&self.fleet)).await?;
        let mut tasks = JoinSet::new();
        self.start_tasks(handles, &mut tasks);
        let (sender, transitions) = mpsc::channel(TRANSITIONS);
        let monitor = Monitor::start(&self.config.services, &sender);
        info!(services = self.fleet.services.len(), "ready");
        self.follow(transitions).await;
        drop(monitor);
        self.drain(proxy).await;
        Ok(())
    }

    /// The listener group, before the host's own sockets by `sk_lookup`, and its workers.
    fn start_proxy(&mut self) -> anyhow::Result<proxy::Running> {
        let Config { node, proxy, certificates, .. } = &self.config;
        let routes = Routes::new(&self.fleet, certificates)?;
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let bound = Proxy::bind(node.workers.unwrap_or_else(cores), any);
        let bound = bound.context("cannot open the proxy's listeners")?;
        self.kernel.attach_listener(&bound.listeners()[0])?;
        let routes = Arc::new(ArcSwap::from_pointee(routes));
        let settings = Arc::new(proxy.clone());
        Ok(bound.start(settings, node.region.clone(), routes, self.load.clone())?)
    }

    /// Forwarding, VLAN devices, next hops and source addresses: what steering needs of the host.
    async fn prepare_host(&mut self) -> anyhow::Result<()> {
        let servers = assembly::steered_servers(&self.fleet);
        if !servers.is_empty() {
            self.host.enable_forwarding(&self.config.node.interfaces)?;
        }
        self.steering.set_vlans(&self.host.interfaces().await?)?;
        self.sources.refresh(&self.host, servers.clone()).await?;
        Ok(self.host.keep_neighbours(servers).await?)
    }

    fn start_tasks(&self, handles: Handles, tasks: &mut JoinSet<()>) {
        let (sender, population) = watch::channel(Population::default());
        let attached = self.kernel.attached();
        let interfaces = attached
            .map(|(name, mode)| InterfaceStatus { name: name.to_owned(), mode: mode.to_owned() });
        let report = Report {
            started: self.started,
            interfaces: interfaces.collect(),
            services: Reported::all(&self.fleet, &self.steering.slots),
            counters: handles.counters,
            load: self.load.clone(),
            population,
            max_flows: self.config.node.max_flows,
            max_half_open: handles.max_half_open,
        };
        tasks.spawn(sweeping::sweep(handles.sweeper, sender));
        let door = handles.door.serve(move || Ok(report.status()?));
        tasks.spawn(async { match door.await {} });
    }

    /// Takes in events until the operator says stop.
    async fn follow(&mut self, mut transitions: mpsc::Receiver<Transition>) {
        let mut tend = time::interval(TEND);
        tend.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                order = self.signals.order() => match order {
                    Order::Stop => return,
                    Order::Reload => warn!("cannot reload yet: restart lb to apply a changed configuration"),
                },
                Some(transition) = transitions.recv() => {
                    assembly::note(&self.fleet, &transition);
                    while let Ok(transition) = transitions.try_recv() {
                        assembly::note(&self.fleet, &transition);
                    }
                    self.replan().await;
                }
                _ = tend.tick() => self.tend().await,
            }
        }
    }

    /// A failure now may be none at the next look.
    async fn tend(&mut self) {
        if let Err(error) = self.follow_host().await {
            warn!(error = format!("{error:#}"), "cannot follow the host's network");
        }
        // Also where nothing changed: a plan that failed gets another try.
        self.replan().await;
    }

    /// Routes, neighbours and VLAN devices come and go.
    async fn follow_host(&mut self) -> anyhow::Result<()> {
        self.host.tend().await?;
        self.steering.set_vlans(&self.host.interfaces().await?)?;
        let servers = assembly::steered_servers(&self.fleet);
        self.sources.refresh(&self.host, servers).await?;
        Ok(())
    }

    async fn replan(&mut self) {
        if let Err(error) = self.steering.replan(&self.fleet, &self.sources.known).await {
            error!(error = format!("{error:#}"), "the kernel's tables are out of date");
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

    /// Leaves the host as it was found; the kernel program goes last.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        let Self { kernel, host, .. } = self;
        let left = host.close().await;
        drop(kernel);
        left.context("cannot leave the host as it was found")
    }
}
