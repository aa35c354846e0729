//! Changes that clients of the API ask for.

use std::time::Instant;

use ::tracing::{error, info};
use tokio::task;

use super::{
    desired::{self, Waiting},
    serving::Serving,
    state::Daemon,
};
use crate::{
    admin::{ChangeReply, ChangeRequest, Event},
    app::operator::dry_run,
    config::Errors,
    objects::{ChangeRefusal, ObjectId, RefusalKind},
    providers::{Provided, StoreError},
};

impl Daemon {
    /// Carries out all operations as one revision, or none of them. What was done is in the log,
    /// with who did it.
    ///
    /// # Errors
    ///
    /// Every rule that is broken, or what this host lacks. Nothing has changed.
    pub(crate) async fn change(
        &mut self,
        serving: &mut Serving,
        request: &ChangeRequest,
    ) -> Result<ChangeReply, ChangeRefusal> {
        let began = Instant::now();
        let done = self.try_change(serving, request).await;
        let (by, took) = (&request.by, began.elapsed());
        match &done {
            Ok(_) if request.dry_run => {}
            Ok(reply) => {
                let changes = reply.changes.join("; ");
                info!(target: "lb::audit", by, revision = reply.revision, changes, ?took, "changed");
            }
            Err(refusal) => {
                info!(target: "lb::audit", by, why = refusal.detail, "a change is refused");
            }
        }
        done
    }

    async fn try_change(
        &mut self,
        serving: &mut Serving,
        request: &ChangeRequest,
    ) -> Result<ChangeReply, ChangeRefusal> {
        if !self.succession.upgrades.is_empty() && !request.dry_run {
            return Err(unable("an upgrade is under way: ask the new lb".to_owned()));
        }
        let in_file = |id: &ObjectId| self.desired.place_in_file(id);
        let next = self.desired.provided.changed(&request.operations, in_file)?;
        let mut reply = ChangeReply {
            revision: next.revision(),
            changes: Vec::new(),
            warnings: Vec::new(),
            revisions: revisions(&next, request),
        };
        if next == self.desired.provided {
            return Ok(reply);
        }
        let (config, waiting) = Waiting::apart(self.join_change(&next, request).await?);
        refuse_shadowed(&waiting, request)?;
        reply.warnings = self.desired.warnings(&waiting);
        let assessed = self.assess(serving, config).await.map_err(unable)?;
        reply.changes = assessed.changes;
        if request.dry_run {
            return Ok(reply);
        }
        let Some(prepared) = assessed.prepared else {
            return Err(unable(format!("it needs a new process: {}", reply.changes.join("; "))));
        };
        self.save(&next).await?;
        let is_nothing = reply.changes.is_empty();
        if !is_nothing && let Err(failure) = self.change_over(serving, prepared).await {
            self.take_back(&next).await;
            return Err(unable(format!(
                "it could not be applied, and what was begun is undone: {failure:#}"
            )));
        }
        self.desired.accept(self.desired.file.clone(), next, waiting);
        self.desired.events.tell(Event::Changed {
            revision: reply.revision,
            by: request.by.clone(),
            changes: reply.changes.clone(),
        });
        Ok(reply)
    }

    /// Joins the running file and what there would be. Files that the written objects name are
    /// looked at.
    async fn join_change(
        &self,
        next: &Provided,
        request: &ChangeRequest,
    ) -> Result<crate::config::Joined, ChangeRefusal> {
        let (file, objects) = (self.desired.file.clone(), next.objects());
        let written = written(request);
        let mut optional = self.desired.may_be_left_out();
        optional.retain(|id| !written.contains(id));
        let join = move || {
            let is_written =
                |object: Option<&ObjectId>| object.is_some_and(|it| written.contains(it));
            desired::join(&file, &objects, &optional, is_written, dry_run::examine)
        };
        let joined = task::spawn_blocking(join).await;
        joined.map_err(|error| unable(error.to_string()))?.map_err(|errors: Errors| {
            let detail = "the change breaks rules, and nothing was changed";
            ChangeRefusal::new(RefusalKind::Invalid, detail).with(errors.violations())
        })
    }

    /// Keeps a revision before it is applied: whoever is told that it was can rely on it.
    async fn save(&self, next: &Provided) -> Result<(), ChangeRefusal> {
        let (store, next) = (self.desired.store.clone(), next.clone());
        let saved = task::spawn_blocking(move || store.save(&next)).await;
        let saved = saved.map_err(|error| unable(error.to_string()))?;
        saved.map_err(|error: StoreError| unable(error.to_string()))
    }

    async fn take_back(&self, next: &Provided) {
        let (store, next) = (self.desired.store.clone(), next.clone());
        let done = task::spawn_blocking(move || store.take_back(&next)).await;
        if let Ok(Err(error)) = done {
            error!(%error, "a restart would try a revision again that could not be applied");
        }
    }
}

fn written(request: &ChangeRequest) -> Vec<ObjectId> {
    request.operations.iter().map(|operation| operation.id.clone()).collect()
}

/// The revision of each written object that is there after it.
fn revisions(next: &Provided, request: &ChangeRequest) -> Vec<Option<u64>> {
    let operations = request.operations.iter();
    operations.map(|it| next.get(&it.id).map(|object| object.revision)).collect()
}

/// What a client writes is to run: the file's object may wait for nobody.
fn refuse_shadowed(waiting: &Waiting, request: &ChangeRequest) -> Result<(), ChangeRefusal> {
    let written = written(request);
    let shadowed = waiting.shadowed.iter().filter(|it| written.contains(&it.object));
    let violations: Vec<_> = shadowed.map(|it| it.by.clone()).collect();
    match violations.first() {
        None => Ok(()),
        Some(first) => {
            let place = first.conflicts_with.as_ref().map_or_else(String::new, ToString::to_string);
            let detail = format!("the file has it already: {} ({place})", first.detail);
            Err(ChangeRefusal::new(RefusalKind::Conflict, detail).with(violations))
        }
    }
}

fn unable(why: String) -> ChangeRefusal {
    ChangeRefusal::new(RefusalKind::Unable, why)
}
