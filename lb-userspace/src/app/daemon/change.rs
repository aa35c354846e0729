//! Changes that clients of the API ask for.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use ::tracing::{error, info};
use tokio::task;

use super::{
    desired::{self, Waiting},
    install::Prepared,
    serving::Serving,
    state::Daemon,
};
use crate::{
    admin::{ChangeReply, ChangeRequest, Event},
    app::operator::dry_run,
    config::Errors,
    objects::{ChangeRefusal, ObjectId, Order, OrderChange, RefusalKind},
    providers::{Provided, StoreError},
    settings::Config,
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
        let next = ordered(&self.desired.provided, next, request)?;
        let mut reply = ChangeReply {
            revision: next.revision(),
            changes: Vec::new(),
            warnings: Vec::new(),
            revisions: revisions(&next, request),
        };
        if next == self.desired.provided {
            return Ok(reply);
        }
        let (config, waiting) = Waiting::apart(self.join_change(&next, request).await?, &next);
        refuse_unknown_servers(&config, request)?;
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
        let prepared = (!reply.changes.is_empty()).then_some(prepared);
        self.go_over_to(serving, next, waiting, prepared).await?;
        self.desired.events.tell(Event::Changed {
            revision: reply.revision,
            by: request.by.clone(),
            changes: reply.changes.clone(),
        });
        Ok(reply)
    }

    /// Keeps a revision, then applies it. `None`: nothing that runs changes.
    async fn go_over_to(
        &mut self,
        serving: &mut Serving,
        next: Provided,
        waiting: Waiting,
        prepared: Option<Prepared>,
    ) -> Result<(), ChangeRefusal> {
        self.save(&next).await?;
        if let Some(prepared) = prepared
            && let Err(failure) = self.change_over(serving, prepared).await
        {
            self.take_back(&next).await;
            return Err(unable(format!(
                "it could not be applied, and what was begun is undone: {failure:#}"
            )));
        }
        self.desired.accept(self.desired.file.clone(), next, waiting);
        Ok(())
    }

    /// Ends the orders whose time is over: what is configured takes effect again.
    pub(crate) async fn expire_orders(&mut self, serving: &mut Serving) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        if self.desired.provided.expired(now_ms).is_none() || !self.succession.upgrades.is_empty() {
            return;
        }
        let over = |order: &&Arc<Order>| order.until_ms.is_some_and(|until| until <= now_ms);
        let orders = self.desired.provided.orders();
        let orders = orders.iter().filter(over);
        let orders = orders.map(|order| OrderChange::TakeBack(order.target.clone())).collect();
        let by = "ttl".to_owned();
        let request = ChangeRequest { operations: Vec::new(), orders, dry_run: false, by };
        // The result is in the log; if it failed, the next second tries again.
        let _ = self.change(serving, &request).await;
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

/// Orders are part of the same revision. What only orders change is a revision as well.
fn ordered(
    before: &Provided,
    next: Provided,
    request: &ChangeRequest,
) -> Result<Provided, ChangeRefusal> {
    if request.orders.is_empty() {
        return Ok(next);
    }
    let next = if next.revision() == before.revision() { before.advanced() } else { next };
    next.ordered(&request.orders).ok_or_else(|| {
        let targets: Vec<_> = request.orders.iter().map(|it| it.target().to_string()).collect();
        let detail = format!("there is no order for {}", targets.join(", "));
        ChangeRefusal::new(RefusalKind::Missing, detail)
    })
}

/// An order that is given is for a server that is there.
fn refuse_unknown_servers(config: &Config, request: &ChangeRequest) -> Result<(), ChangeRefusal> {
    for order in &request.orders {
        let OrderChange::Give(Order { target, .. }) = order else { continue };
        let service = config.services.iter().find(|it| *it.name == *target.service);
        let service = service.ok_or_else(|| {
            let detail = format!("there is no service `{}`", target.service);
            ChangeRefusal::new(RefusalKind::Missing, detail)
        })?;
        if !service.pool.servers.iter().any(|it| it.address == target.server) {
            let detail = format!("service `{}` has no server {}", target.service, target.server);
            return Err(ChangeRefusal::new(RefusalKind::Missing, detail));
        }
    }
    Ok(())
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
