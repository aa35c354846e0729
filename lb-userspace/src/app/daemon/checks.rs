//! What the daemon learns of servers: by health checks, and by the answers that it sees.

use super::state::Daemon;
use crate::app::reconcile::check_routes;
use crate::{health::CheckContext, proxy};

/// File descriptors that one check takes at most.
const PER_CHECK: usize = 3;
/// Checks at a time, at most.
const CHECKS: usize = 1024;

impl Daemon {
    /// Returns how many file descriptors are kept back from clients.
    pub(crate) fn reserved_descriptors(&self) -> u64 {
        proxy::KEPT + (PER_CHECK * self.checks_at_once()) as u64
    }

    /// Returns what health checks work with. If only `reserved` descriptors could be kept back,
    /// fewer checks run at a time.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub(crate) fn check_resources(&self, reserved: u64) -> anyhow::Result<CheckContext> {
        let at_once = self.checks_at_once() as u64 * reserved / self.reserved_descriptors();
        Ok(CheckContext {
            exhaustion: self.exhaustion.clone(),
            at_once: (at_once as usize).max(1),
            finder: Some(check_routes::finder(self.config.node.encap, &self.config.services)?),
        })
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
