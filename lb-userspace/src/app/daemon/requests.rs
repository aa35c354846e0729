//! Requests of the operator, which come by the admin socket.

use ::tracing::{error, warn};
use tokio::task;

use super::{
    serving::Serving,
    state::{Daemon, UpgradeAnswer},
};
use crate::{
    admin::{AdminRequest, DrainReply, DrainRequest, Envelope, Explanation, PacketQuery},
    app::{
        operator::{
            explain,
            flow_list::{self, ServiceNames},
            trace::{self, TraceStep},
        },
        reconcile::drains::{self, Moment},
    },
};

impl Daemon {
    /// Answers a request. Its client may have gone meanwhile: then the answer is dropped.
    pub(crate) async fn handle_request(&mut self, serving: &mut Serving, request: AdminRequest) {
        match request {
            AdminRequest::Change(asked) => {
                let done = self.change(serving, &asked.request).await;
                let _ = asked.reply.send(done);
            }
            AdminRequest::Upgrade(asked) => {
                self.begin_upgrade(serving, &asked.request, UpgradeAnswer::Upgrade(asked.reply));
            }
            AdminRequest::Reload(asked) => {
                self.reload_for(serving, &asked.request, Some(asked.reply)).await;
            }
            AdminRequest::Drain(asked) => {
                let done = self.drain_server(&asked.request).await;
                let _ = asked.reply.send(done);
            }
            AdminRequest::Flows(asked) => {
                let (flows, names) = (self.kernel.flows.clone(), self.names());
                // The table may be large.
                task::spawn_blocking(move || {
                    let listed = names.check(&asked.request.selector);
                    let listed = listed.map(|()| flow_list::list(&flows, &names, &asked.request));
                    let _ = asked.reply.send(listed);
                });
            }
            AdminRequest::Explain(asked) => self.explain(asked),
            AdminRequest::Trace(asked) => {
                let (watcher, names) = (self.kernel.watcher.clone(), self.names());
                task::spawn(trace::trace(watcher, names, asked, self.trace_steps.0.clone()));
            }
        }
    }

    async fn drain_server(&mut self, request: &DrainRequest) -> Result<DrainReply, String> {
        self.fleet.drains.order(&self.fleet.running, request, Moment::now())?;
        self.reconcile().await;
        let saved = self.save_drains();
        saved.map_err(|error| format!("done, but a restart of lb would forget it: {error:#}"))?;
        let warning = drains::closed_warning(&self.fleet.running, &request.service);
        if let Some(warning) = &warning {
            warn!("{warning}");
        }
        Ok(DrainReply { warning })
    }

    fn explain(&self, asked: Envelope<PacketQuery, Explanation>) {
        let (watcher, names) = (self.kernel.watcher.clone(), self.names());
        let problems = self.host.answer_paths.problems.clone();
        let interface = asked.request.interface.clone();
        let first = || self.kernel.interfaces.names().first().map(|name| (*name).to_owned());
        let Some(interface) = interface.or_else(first) else {
            let _ = asked.reply.send(Err("no interface is attached: name one".to_owned()));
            return;
        };
        if !self.kernel.interfaces.names().contains(&&*interface) {
            let names = self.kernel.interfaces.names().join(", ");
            let _ = asked.reply.send(Err(format!(
                "lb is not on {interface} and sees no packet that comes in there; it is on {names}"
            )));
            return;
        }
        // The first explanation loads a program, which waits for the verifier.
        task::spawn_blocking(move || {
            let explained = explain::explain(&watcher, &names, &asked.request, &interface);
            let explained = explained.map(|it| explain::add_warning(it, &problems.load()));
            let _ = asked.reply.send(explained);
        });
    }

    /// Attaches the tracing program in place of the usual one, or puts that back.
    pub(crate) fn handle_trace_step(&mut self, step: TraceStep) {
        match step {
            TraceStep::Begin(tracer, begun) => {
                let done = self.kernel.program.trace(Some(tracer));
                let _ = begun.send(done.map_err(|error| format!("cannot trace: {error}")));
            }
            TraceStep::End => self.end_trace(),
        }
    }

    pub(crate) fn end_trace(&mut self) {
        if let Err(error) = self.kernel.program.trace(None) {
            error!(error = format!("{error:#}"), "the tracing program stays on an interface");
        }
    }

    fn names(&self) -> ServiceNames {
        ServiceNames::of(&self.fleet.running, &self.kernel.reconciler.ids)
    }
}
