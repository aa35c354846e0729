//! The kernel's tables follow the fleet, and the notes follow both.

use std::sync::Arc;

use tracing::{error, warn};

use super::state::Daemon;
use crate::app::reconcile::draining::Moment;

impl Daemon {
    /// For the next daemon, which is to know the operator's orders.
    pub(crate) fn note_drains(&self) -> anyhow::Result<()> {
        self.notes.write_drains(&self.draining.noted())
    }

    pub(crate) async fn replan(&mut self) {
        if let Err(error) = self.steer().await {
            error!(error = format!("{error:#}"), "the kernel's tables are out of date");
        }
    }

    /// Brings the kernel's tables to what is wanted now, and notes who left and is not gone yet.
    pub(crate) async fn steer(&mut self) -> anyhow::Result<()> {
        self.reconciler.replan(&self.fleet, &self.sources).await?;
        let leavers = self.reconciler.leavers();
        let changed = self.draining.follow(&leavers, Moment::now());
        self.leavers.store(Arc::new(leavers));
        if changed && let Err(error) = self.note_drains() {
            warn!(error = format!("{error:#}"), "cannot note since when servers drain");
        }
        Ok(())
    }
}
