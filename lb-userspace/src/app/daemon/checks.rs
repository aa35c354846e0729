//! What the daemon learns of servers: by health checks, and by the answers that it sees.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::{serving::Checks, state::Daemon};
use crate::app::reconcile::{check_routes::CheckRoutes, fleet_builder};
use crate::{
    health::{CheckContext, H2cProbes, Monitor, Transition},
    proxy,
};

/// File descriptors that one check takes at most.
const PER_CHECK: usize = 3;
/// Checks at a time, at most.
const CHECKS: usize = 1024;

impl Daemon {
    /// Returns how many file descriptors are kept back from clients.
    pub(crate) fn reserved_descriptors(&self) -> u64 {
        proxy::KEPT + (PER_CHECK * self.checks_at_once()) as u64
    }

    /// Starts the health checks, and asks servers whether they speak HTTP/2. If only `reserved`
    /// descriptors could be kept back, fewer checks run at a time.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub(crate) fn start_checks(
        &self,
        reserved: u64,
        transitions: &mpsc::Sender<Transition>,
    ) -> anyhow::Result<Checks> {
        let routes = CheckRoutes::new(self.config.node.encap, &self.config.services)?;
        let context = CheckContext {
            exhaustion: self.exhaustion.clone(),
            at_once: self.checks_within(reserved),
            finder: Some(routes.finder()),
        };
        let is_up = self.servers_up();
        let monitor = Monitor::start(&self.config.services, is_up, transitions, context);
        Ok(Checks { monitor, probes: H2cProbes::start(&self.fleet.running), routes, reserved })
    }

    /// Has `checks` follow the configuration and the fleet of now.
    pub(crate) fn follow_checks(&self, checks: &mut Checks) {
        checks.routes.configure(self.config.node.encap, &self.config.services);
        checks.monitor.set_at_once(self.checks_within(checks.reserved));
        checks.monitor.follow(&self.config.services, self.servers_up());
        checks.probes.follow(&self.fleet.running);
    }

    fn servers_up(&self) -> impl Fn(&str, SocketAddr) -> bool + use<> {
        let down = fleet_builder::down_servers(&self.fleet.running);
        move |service, server| !down.contains(&(service.to_owned(), server))
    }

    /// Returns how many checks run at a time with so many descriptors.
    fn checks_within(&self, reserved: u64) -> usize {
        let at_once = self.checks_at_once() as u64 * reserved / self.reserved_descriptors();
        (at_once as usize).clamp(1, CHECKS)
    }

    fn checks_at_once(&self) -> usize {
        let checked = self.config.services.iter().filter(|it| it.pool.health_check.is_some());
        checked.map(|service| service.pool.servers.len()).sum::<usize>().clamp(1, CHECKS)
    }

    /// Checks whether the answers of servers come in where the kernel program sees them.
    pub(crate) async fn sync_answer_paths(&mut self) -> anyhow::Result<()> {
        let interfaces = self.host.network.interfaces().await?;
        let (answers, sources) = (&mut self.host.answer_paths, &self.fleet.sources);
        let way = |server| sources.ways.get(&server).map(|way| way.interface);
        answers.follow_routes(&self.fleet.running, way, &interfaces, &|it| {
            self.kernel.interfaces.has(it)
        });
        answers.follow_flows(&self.fleet.running, |backend| {
            self.kernel.reconciler.answers(backend.slot)
        });
        Ok(())
    }
}
