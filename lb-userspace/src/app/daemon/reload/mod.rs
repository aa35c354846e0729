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
        state::last_good::ConfigText,
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
        if !self.succession.upgrades.is_empty() && !request.dry_run {
            return Err("an upgrade is under way: the new lb reads the configuration".to_owned());
        }
        let file = request.file.clone().unwrap_or_else(|| self.applied.file.clone());
        let (source, desired) = self.read(file).await?;
        let change = change::plan(&self.config, &desired);
        self.refuse_restart(&change)?;
        self.refuse_addresses(&desired).await?;
        if let Some(why) = self.kernel.reconciler.lacks_room(&desired) {
            return Err(format!("{why}: `lb upgrade` makes larger ones"));
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
            self.applied = source;
            self.keep_last_good();
        }
        Ok(ReloadReply { changes, warnings: Vec::new() })
    }

    /// Reads the file because it was seen to have changed. What was read before is not read again.
    pub(crate) async fn reload_changed(&mut self, serving: &mut Serving) {
        let file = self.applied.file.clone();
        let text = task::spawn_blocking(move || config::read_text(&file).ok()).await;
        let is_new = text.is_ok_and(|text| text.is_some() && text != self.last_read);
        if self.config.node.watch_config && is_new {
            info!(file = %self.applied.file.display(), "the configuration file has changed");
            // The result is in the log.
            let _ = self.reload(serving, &ReloadRequest::default()).await;
        }
    }

    /// Reads `file`, and what it names.
    async fn read(&mut self, file: PathBuf) -> Result<(ConfigText, Config), String> {
        let is_ours = file == self.applied.file;
        let read = move || {
            let text = config::read_text(&file).map_err(|error| error.to_string())?;
            let config = config::parse_checked(&file, &text, dry_run::examine);
            let config = config.map_err(|errors| errors.to_string());
            Ok::<_, String>((ConfigText { file, text }, config))
        };
        let read = task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
        let (source, config) = read.inspect_err(|_| self.last_read = None)?;
        if is_ours {
            self.last_read = Some(source.text.clone());
        }
        Ok((source, config?))
    }

    /// Refuses what only a new process can take over.
    fn refuse_restart(&self, change: &ConfigChange) -> Result<(), String> {
        let keys: Vec<_> = change.needing_restart().map(|setting| setting.key).collect();
        match &keys[..] {
            [] => Ok(()),
            keys => Err(format!(
                "a running lb cannot change {}: `lb upgrade` takes it over, or a restart",
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
