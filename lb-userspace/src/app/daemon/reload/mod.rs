//! Reads the configuration again and applies what changed, or says why not.

use std::{path::PathBuf, time::Instant};

use tokio::{sync::oneshot, task};
use tracing::{error, info, warn};

use super::{
    desired::{self, Waiting},
    install::Prepared,
    serving::Serving,
    state::{Daemon, UpgradeAnswer},
};
use crate::{
    admin::{Event, ReloadReply, ReloadRequest, UpgradeRequest},
    app::{
        operator::dry_run,
        reconcile::{address_conflicts, fleet_builder},
        state::last_good::ConfigText,
    },
    change::{self, ConfigChange},
    config::{self, FileText, Joined},
    host::HostReader,
    objects::ObjectId,
    settings::Config,
};

/// What a change would do, and what was made for it.
pub(crate) struct Assessed {
    /// A sentence for each service and setting that changes.
    pub(crate) changes: Vec<String>,
    /// `None`: it takes a new process in this one's place.
    pub(crate) prepared: Option<Prepared>,
}

/// What came of a reload that was not refused.
enum Reloaded {
    /// It was done, or would be.
    Here(ReloadReply),
    /// A new process is to do it: what changes.
    ByUpgrade(Vec<String>),
}

impl Daemon {
    /// Reads the configuration again and applies it as a whole, or refuses it as a whole. The
    /// result is in the log too.
    ///
    /// # Errors
    ///
    /// The text says, for the operator, what is wrong. The running configuration goes on.
    async fn reload(
        &mut self,
        serving: &mut Serving,
        request: &ReloadRequest,
    ) -> Result<Reloaded, String> {
        let began = Instant::now();
        let done = self.try_reload(serving, request).await;
        let took = began.elapsed();
        match &done {
            Ok(_) if request.dry_run => {}
            Ok(Reloaded::ByUpgrade(changes)) => {
                changes.iter().for_each(|change| info!("{change}"));
                info!("a new process takes this configuration over");
            }
            Ok(Reloaded::Here(reply)) if reply.changes.is_empty() => {
                info!(?took, "reloaded: nothing changed");
            }
            Ok(Reloaded::Here(reply)) => {
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
    ) -> Result<Reloaded, String> {
        if !self.succession.upgrades.is_empty() && !request.dry_run {
            return Err("an upgrade is under way: the new lb reads the configuration".to_owned());
        }
        let file = request.file.clone().unwrap_or_else(|| self.applied.file.clone());
        let (source, joined) = self.read(file).await?;
        let (config, waiting) = Waiting::apart(joined, &self.desired.provided);
        let warnings = self.desired.warnings(&waiting);
        let assessed = self.assess(serving, config).await?;
        if !request.dry_run {
            let Some(prepared) = assessed.prepared else {
                return Ok(Reloaded::ByUpgrade(assessed.changes));
            };
            if !assessed.changes.is_empty() {
                self.change_over(serving, prepared).await.map_err(|error| {
                    format!("it could not be applied, and what was begun is undone: {error:#}")
                })?;
            }
            self.accept_file(source, waiting, &assessed.changes).await;
        }
        Ok(Reloaded::Here(ReloadReply { changes: assessed.changes, warnings }))
    }

    /// Works out what it takes to have `desired` run, and changes nothing.
    pub(crate) async fn assess(
        &mut self,
        serving: &Serving,
        desired: Config,
    ) -> Result<Assessed, String> {
        let change = change::plan(&self.config, &desired);
        self.refuse_restart(&change)?;
        self.refuse_addresses(&desired).await?;
        let connections = |service: &std::sync::Arc<str>, server| {
            let running = self.fleet.running.find(service);
            let mut backends = running.into_iter().flat_map(|running| &running.backends);
            let backend = backends.find(|backend| backend.server.address == server);
            backend.map_or(0, |backend| self.load.count(backend.slot))
        };
        let mut changes = change.sentences(connections);
        let lacks_room = self.kernel.reconciler.lacks_room(&desired);
        let needs_process = lacks_room.is_some() || change.needs_process();
        changes.extend(lacks_room.map(|why| format!("{why}: a new process makes larger ones")));
        if needs_process {
            return Ok(Assessed { changes, prepared: None });
        }
        let prepared = self.prepare(serving, desired).map_err(|error| format!("{error:#}"))?;
        Ok(Assessed { changes, prepared: Some(prepared) })
    }

    /// Notes that the file runs now. A file that says something else is another revision.
    async fn accept_file(&mut self, source: ConfigText, waiting: Waiting, changes: &[String]) {
        let file = FileText { path: source.file.clone(), text: source.text.as_str().into() };
        if source != self.applied {
            self.applied = source;
            self.keep_last_good();
        }
        if file == self.desired.file && waiting == *self.desired.waiting() && changes.is_empty() {
            return;
        }
        let provided = self.desired.provided.advanced();
        let (store, saved) = (self.desired.store.clone(), provided.clone());
        if let Ok(Err(error)) = task::spawn_blocking(move || store.save(&saved)).await {
            warn!(%error, "a restart will count revisions from an earlier one");
        }
        self.desired.accept(file, provided, waiting);
        self.desired.events.tell(Event::Changed {
            revision: self.desired.provided.revision(),
            by: "file".to_owned(),
            changes: changes.to_vec(),
        });
    }

    /// Reads the file because it was seen to have changed. What was read before is not read again.
    pub(crate) async fn reload_changed(&mut self, serving: &mut Serving) {
        let file = self.applied.file.clone();
        let text = task::spawn_blocking(move || config::read_text(&file).ok()).await;
        let is_new = text.is_ok_and(|text| text.is_some() && text != self.last_read);
        if self.config.node.watch_config && is_new {
            info!(file = %self.applied.file.display(), "the configuration file has changed");
            self.reload_for(serving, &ReloadRequest::default(), None).await;
        }
    }

    /// Does what `request` says and answers, where anybody waits for the answer: at once, or when a
    /// new process has taken over.
    pub(crate) async fn reload_for(
        &mut self,
        serving: &mut Serving,
        request: &ReloadRequest,
        reply: Option<oneshot::Sender<Result<ReloadReply, String>>>,
    ) {
        let done = match self.reload(serving, request).await {
            Ok(Reloaded::ByUpgrade(changes)) => {
                let answer = UpgradeAnswer::Reload { changes, reply };
                return self.begin_upgrade(serving, &UpgradeRequest::default(), answer);
            }
            Ok(Reloaded::Here(reply)) => Ok(reply),
            Err(why) => Err(why),
        };
        if let Some(reply) = reply {
            // If the client has gone, nobody is told.
            let _ = reply.send(done);
        }
    }

    /// Reads `file`, and what it names, and joins it with the objects of the API.
    async fn read(&mut self, file: PathBuf) -> Result<(ConfigText, Joined), String> {
        let is_ours = file == self.applied.file;
        let (objects, optional) = (self.desired.provided.objects(), self.desired.may_be_left_out());
        let read = move || {
            let text = config::read_text(&file).map_err(|error| error.to_string())?;
            let source = FileText { path: file.clone(), text: text.as_str().into() };
            let is_named_there = |object: Option<&ObjectId>| object.is_none();
            let joined =
                desired::join(&source, &objects, &optional, is_named_there, dry_run::examine);
            Ok::<_, String>((
                ConfigText { file, text },
                joined.map_err(|errors| errors.to_string()),
            ))
        };
        let read = task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
        let (source, joined) = read.inspect_err(|_| self.last_read = None)?;
        if is_ours {
            self.last_read = Some(source.text.clone());
        }
        Ok((source, joined?))
    }

    /// Refuses what only a new process can take over.
    fn refuse_restart(&self, change: &ConfigChange) -> Result<(), String> {
        let keys: Vec<_> = change.needing_restart().map(|setting| setting.key).collect();
        match &keys[..] {
            [] => Ok(()),
            keys => Err(format!(
                "a running lb cannot change {}: a restart takes it over",
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
