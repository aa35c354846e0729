//! The kernel's tables follow the fleet, and the files for the next daemon follow both.

use std::{sync::Arc, time::Instant};

use tracing::{error, warn};

use super::state::Daemon;
use crate::app::reconcile::{drains::Moment, fleet_builder};

impl Daemon {
    /// Records for the next daemon which servers drain, by order and by configuration.
    pub(crate) fn save_drains(&self) -> anyhow::Result<()> {
        self.store.save_drains(&self.fleet.drains.noted())
    }

    /// Like [`try_reconcile`](Self::try_reconcile); a failure is logged, and the next call goes on.
    pub(crate) async fn reconcile(&mut self) {
        if let Err(error) = self.try_reconcile().await {
            error!(error = format!("{error:#}"), "the kernel's tables are out of date");
        }
    }

    /// Brings the kernel's tables to what is wanted now, and records the servers that left the
    /// configuration and still have flows.
    pub(crate) async fn try_reconcile(&mut self) -> anyhow::Result<()> {
        self.fleet.leaver_checks.note(Instant::now());
        self.kernel.reconciler.replan(&self.fleet.running, &self.fleet.sources).await?;
        let leavers = self.kernel.reconciler.leavers();
        let changed = self.fleet.drains.follow(&leavers, Moment::now());
        self.fleet.leavers.store(Arc::new(leavers));
        if changed && let Err(error) = self.save_drains() {
            warn!(error = format!("{error:#}"), "cannot record since when servers drain");
        }
        Ok(())
    }

    /// Keeps the applied configuration for the next daemon. It can do without.
    pub(crate) fn keep_last_good(&self) {
        if let Err(error) = self.applied.keep_as_last_good(&self.config.node.state_dir) {
            let error = format!("{error:#}");
            warn!(error, "cannot keep this configuration as the last good one");
        }
    }

    /// Records for the next daemon which servers are down. It can do without.
    pub(crate) fn save_health(&self) {
        if let Err(error) = self.store.save_down(&fleet_builder::down_servers(&self.fleet.running))
        {
            warn!(error = format!("{error:#}"), "cannot record which servers are down");
        }
    }
}
