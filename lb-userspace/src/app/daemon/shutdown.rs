//! The daemon's end: connections are drained, and the host is left in order.

use ::tracing::{error, info, warn};
use anyhow::Context as _;
use tokio::select;

use super::state::Daemon;
use crate::proxy;

impl Daemon {
    /// Lets the proxy's connections end. A second signal to stop closes them.
    pub(crate) async fn drain(&mut self, mut proxy: proxy::Running) {
        let within = self.config.proxy.drain_timeout;
        info!(within = ?within, "draining; a second signal closes the connections");
        select! {
            () = proxy.drain(within) => info!("drained"),
            () = self.signals.stop() => {
                warn!("closing connections");
                proxy.cut().await;
            }
        }
    }

    /// Returns whether a data path of lb goes on without this daemon: it has taken over, or an
    /// earlier daemon left one.
    pub(crate) fn has_taken_over(&self) -> bool {
        self.kernel.program.outlives()
    }

    /// Logs what goes on without the daemon. What others took down in the last moment is put back
    /// first.
    pub(crate) fn report_what_stays(&mut self) {
        for damage in self.kernel.program.damage() {
            if let Err(error) = self.kernel.program.repair(&damage, self.kernel.interfaces.mode) {
                warn!(%damage, %error, "cannot restore this part of the data path");
            }
        }
        match &self.kernel.program.damage()[..] {
            [] => info!("the pass-through data path stays in place; `lb detach` removes it"),
            damage => {
                let gone = damage.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                error!(gone, "a part of the pass-through data path is gone");
            }
        }
    }

    /// OutgoingPacket the host as it was found.
    pub(crate) async fn undo(self) -> anyhow::Result<()> {
        let Self { kernel, host, .. } = self;
        let left = host.network.close().await;
        drop(kernel);
        left.map(drop).context("cannot restore the host")
    }
}
