//! Reads the configuration again and applies what changed, or says why not.

use std::{path::PathBuf, time::Instant};

use tokio::task;
use tracing::{error, info, warn};

use super::{serving::Serving, state::Daemon};
use crate::{
    admin::{ReloadReply, ReloadRequest},
    app::{
        operator::dry_run,
        reconcile::{address_conflicts, fleet_builder},
    },
    change::{self, ConfigChange},
    config,
    host::HostReader,
    settings::Config,
};

impl Daemon {
    /// Reads the configuration again and applies it as a whole, or refuses it as a whole. The
    /// result is in the log too.
    ///
    /// # Errors
    ///
    /// The text says, for the operator, what is wrong. The running configuration goes on.
    pub(crate) async fn reload(
        &mut self,
        serving: &mut Serving,
        request: &ReloadRequest,
    ) -> Result<ReloadReply, String> {
        let began = Instant::now();
        let done = self.try_reload(serving, request).await;
        let took = began.elapsed();
        match &done {
            Ok(_) if request.dry_run => {}
            Ok(reply) if reply.changes.is_empty() => info!(?took, "reloaded: nothing changed"),
            Ok(reply) => {
                reply.changes.iter().for_each(|change| info!("{change}"));
                reply.warnings.iter().for_each(|warning| warn!("{warning}"));
                info!(?took, changes = reply.changes.len(), "reloaded");
            }
            Err(why) if request.dry_run => info!(why, "a reload would be refused"),
            Err(why) => {
                error!("the configuration is refused, and the running one stays: {why}");
            }
        }
        done
    }

    async fn try_reload(
        &mut self,
        serving: &mut Serving,
        request: &ReloadRequest,
    ) -> Result<ReloadReply, String> {
        let file = request.file.clone().unwrap_or_else(|| self.file.clone());
        let desired = self.read(file).await?;
        let change = change::plan(&self.config, &desired);
        self.refuse_restart(&change)?;
        self.refuse_addresses(&desired).await?;
        if let Some(why) = self.kernel.reconciler.lacks_room(&desired) {
            return Err(format!("{why}: a restart of lb makes larger ones, and loses no flow"));
        }
        let connections = |service: &std::sync::Arc<str>, server| {
            let running = self.fleet.running.find(service);
            let mut backends = running.into_iter().flat_map(|running| &running.backends);
            let backend = backends.find(|backend| backend.server.address == server);
            backend.map_or(0, |backend| self.load.count(backend.slot))
        };
        let changes = change.sentences(connections);
        let prepared = self.prepare(serving, desired).map_err(|error| format!("{error:#}"))?;
        if !request.dry_run && !change.is_empty() {
            self.change_over(serving, prepared).await.map_err(|error| {
                format!("it could not be applied, and what was begun is undone: {error:#}")
            })?;
        }
        Ok(ReloadReply { changes, warnings: Vec::new() })
    }

    /// Reads `file`, and what it names.
    async fn read(&self, file: PathBuf) -> Result<Config, String> {
        let read = move || {
            config::load_checked(&file, dry_run::examine).map_err(|error| error.to_string())
        };
        task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    }

    /// Refuses what only a new process can take over.
    fn refuse_restart(&self, change: &ConfigChange) -> Result<(), String> {
        let keys: Vec<_> = change.needing_restart().map(|setting| setting.key).collect();
        match &keys[..] {
            [] => Ok(()),
            keys => Err(format!(
                "a running lb cannot change {}: restart it (`lb check` first)",
                keys.join(", ")
            )),
        }
    }

    /// Refuses new addresses that the host needs for itself.
    async fn refuse_addresses(&self, desired: &Config) -> Result<(), String> {
        let announced = fleet_builder::addresses(&self.fleet.running);
        let look = async {
            let here = HostReader::open()?;
            let interfaces = here.interfaces().await?;
            let services = &desired.services;
            address_conflicts::refusals(&here, &interfaces, services, &announced).await
        };
        let refusals = look.await.map_err(|error| error.to_string())?;
        if refusals.is_empty() { Ok(()) } else { Err(refusals.join("\n")) }
    }
}

#[cfg(test)]
mod tests;
