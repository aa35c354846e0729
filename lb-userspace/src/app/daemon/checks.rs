//! What the daemon sees of servers: by checks, and by the answers that come by.

use super::state::Daemon;
use crate::app::reconcile::check_routes;
use crate::{health::Means, proxy};

/// Descriptors that a check takes at most.
const CHECK: usize = 3;
/// Checks at a time.
const CHECKS: usize = 1024;

impl Daemon {
    /// Descriptors that clients do not get.
    pub(crate) fn kept(&self) -> u64 {
        proxy::KEPT + (CHECK * self.checks_at_once()) as u64
    }

    /// Where only `kept` are kept back, there are fewer checks at a time.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub(crate) fn means(&self, kept: u64) -> anyhow::Result<Means> {
        let at_once = self.checks_at_once() as u64 * kept / self.kept();
        Ok(Means {
            lacks: self.lacks.clone(),
            at_once: (at_once as usize).max(1),
            finder: Some(check_routes::finder(self.config.node.encap, &self.config.services)?),
        })
    }

    fn checks_at_once(&self) -> usize {
        let checked = self.config.services.iter().filter(|it| it.pool.health_check.is_some());
        checked.map(|service| service.pool.servers.len()).sum::<usize>().clamp(1, CHECKS)
    }

    /// AnswerPaths of servers must come by where the program sees them.
    pub(crate) async fn follow_answers(&mut self) -> anyhow::Result<()> {
        let interfaces = self.host.interfaces().await?;
        let (answers, sources) = (&mut self.answer_paths, &self.sources);
        let way = |server| sources.ways.get(&server).map(|way| way.interface);
        answers.follow_routes(&self.fleet, way, &interfaces, &|it| self.interfaces.has(it));
        answers.follow_flows(&self.fleet, |backend| self.reconciler.heard(backend.slot));
        Ok(())
    }
}
