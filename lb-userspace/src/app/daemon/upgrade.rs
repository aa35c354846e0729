//! `lb upgrade`: a new process takes this one's place.

use std::{
    env,
    ffi::OsString,
    os::fd::{AsFd as _, BorrowedFd},
    path::PathBuf,
    pin::pin,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use tokio::{task::JoinSet, time};
use tracing::{error, info, warn};

use super::{
    serving::Serving,
    state::{Daemon, Successor, Upgrade, UpgradeAnswer},
};
use crate::{
    admin::{AdminHandover, UpgradeRequest},
    app::process::service_manager,
    fleet::Fleet,
    handover::{HandoverState, OldProcess, Refusal, ServiceTotals, TicketKeys},
    proxy::TicketSecrets,
};

/// Between tellings of what was counted while draining.
const TELL: Duration = Duration::from_millis(500);
/// For answers that are under way on the admin socket when another process has it.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

impl Daemon {
    /// Starts a new process, which verifies and loads everything while this one goes on.
    pub(crate) fn begin_upgrade(
        &mut self,
        serving: &Serving,
        request: &UpgradeRequest,
        reply: UpgradeAnswer,
    ) {
        let started = if self.succession.upgrades.is_empty() {
            self.start_successor(serving, request)
        } else {
            Err(anyhow!("an upgrade is under way already"))
        };
        match started {
            Ok((mut process, admin)) => {
                self.succession.upgrades.spawn(async move {
                    let prepared = process.prepared().await;
                    Upgrade { process, admin, prepared, reply }
                });
            }
            Err(error) => answer(reply, Err(format!("{error:#}"))),
        }
    }

    fn start_successor(
        &self,
        serving: &Serving,
        request: &UpgradeRequest,
    ) -> anyhow::Result<(OldProcess, AdminHandover)> {
        if std::process::id() == 1 {
            bail!("lb is process 1 of a container, which ends with it: replace the container");
        }
        let program = match &request.binary {
            Some(path) => path.clone(),
            None => own_program()?,
        };
        let admin = serving.admin.clone();
        let shared = admin.descriptors().context("cannot share the admin socket")?;
        let [namespace, state_dir] = self.host.network.locks();
        let pins = self.kernel.program.lock().context("the data path has no directory")?;
        let descriptors: [(&str, BorrowedFd<'_>); 5] = [
            ("pins", pins),
            ("namespace", namespace),
            ("state_dir", state_dir),
            ("admin", shared.0.as_fd()),
            ("admin_lock", shared.1.as_fd()),
        ];
        let arguments: Vec<OsString> = env::args_os().skip(1).collect();
        let listeners = serving.proxy.running.listeners();
        let process = OldProcess::start(
            &program,
            &arguments,
            &descriptors,
            listeners,
            &self.succession.generations.all(),
        )?;
        info!(program = %program.display(), pid = process.id(), "started a new lb to upgrade to");
        Ok((process, admin))
    }

    /// Steps back for a new process that is prepared. Returns whether it serves now: then this
    /// process only drains. If it does not, everything is put right and goes on here.
    pub(crate) async fn finish_upgrade(&mut self, serving: &Serving, upgrade: Upgrade) -> bool {
        let Upgrade { mut process, admin, prepared, reply } = upgrade;
        let (began, pid) = (Instant::now(), process.id());
        let done = match prepared {
            Ok(()) => self.commit_upgrade(serving, &mut process).await,
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok(told) => {
                let took = began.elapsed();
                service_manager::replaced_by(pid);
                info!(pid, ?took, "the new lb serves; this one drains its connections");
                self.succession.successor = Some(Successor { admin, process, told, reply });
                true
            }
            Err(refusal) => {
                answer(reply, Err(format!("{refusal}. This lb goes on as before")));
                false
            }
        }
    }

    async fn commit_upgrade(
        &mut self,
        serving: &Serving,
        process: &mut OldProcess,
    ) -> Result<Vec<ServiceTotals>, Refusal> {
        // From here on nothing is changed: the caller handles no other event meanwhile.
        self.end_trace();
        self.save_health();
        if let Err(error) = self.save_drains() {
            warn!(error = format!("{error:#}"), "the new lb may not know which servers drain");
        }
        serving.sweeping.send_replace(false);
        let told = totals(&self.fleet.running);
        let state = HandoverState { tickets: ticket_keys(), totals: told.clone() };
        let done = process.commit(state).await;
        if done.is_err() {
            process.end();
            serving.sweeping.send_replace(true);
            self.heal().await;
        }
        done.map(|()| told)
    }

    /// Puts right what a process changed that could not take over.
    async fn heal(&mut self) {
        if let Err(error) = self.kernel.reconciler.read_back() {
            error!(error = format!("{error:#}"), "cannot read the kernel's tables back");
        }
        self.repair_datapath();
        self.resync().await;
    }
}

/// What still runs in a process whose place another one has taken.
pub(crate) struct Replaced {
    pub(crate) successor: Successor,
    pub(crate) serving: Serving,
    pub(crate) tasks: JoinSet<()>,
}

/// Ends a process whose place another one has taken: its connections drain. All that a third one
/// would find locked after a crash of the second one is let go of first.
pub(crate) async fn end_replaced(daemon: Daemon, replaced: Replaced) {
    let Replaced { successor, serving, tasks } = replaced;
    let Successor { admin, mut process, mut told, reply } = successor;
    let Daemon { kernel, host, fleet, config, mut signals, .. } = daemon;
    let Serving { proxy, checks, .. } = serving;
    drop((kernel, host, checks));
    admin.give_away().await;
    answer(reply, Ok(process.id()));
    admin.ended(LAST_ANSWERS).await;
    drop(tasks);
    let services = fleet.running.services.iter();
    let deadlines = services.map(|running| running.service.proxied_drain_deadline());
    let within = deadlines.max().unwrap_or(config.proxy.drain_timeout);
    let mut drained = pin!(proxy.running.hand_over(within));
    let mut tell = time::interval(TELL);
    loop {
        tokio::select! {
            () = &mut drained => break info!("drained"),
            () = signals.stop() => break warn!("closing connections"),
            _ = tell.tick() => tell_counted(&mut process, &fleet.running, &mut told).await,
        }
    }
    tell_counted(&mut process, &fleet.running, &mut told).await;
}

fn answer(reply: UpgradeAnswer, done: Result<u32, String>) {
    if let Err(why) = &done {
        error!("no upgrade: {why}");
    }
    reply.send(done);
}

/// Returns the path of this program, where an upgrade put another file meanwhile.
fn own_program() -> anyhow::Result<PathBuf> {
    const GONE: &str = " (deleted)";
    let path = env::current_exe().context("cannot find this program")?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(GONE).map_or_else(|| path.clone(), PathBuf::from))
}

fn ticket_keys() -> Option<TicketKeys> {
    let TicketSecrets { current, previous, remaining } = TicketSecrets::of_this_process()?;
    Some(TicketKeys { current, previous, remaining })
}

/// Returns what the proxy counted.
fn totals(fleet: &Fleet) -> Vec<ServiceTotals> {
    let totals = fleet.services.iter().map(|running| {
        let taken = running
            .backends
            .iter()
            .map(|backend| (backend.server.address, backend.state.taken.load(Ordering::Relaxed)));
        ServiceTotals {
            service: running.service.name.to_string(),
            requests: running.counts.requests.load(Ordering::Relaxed),
            failed: running.counts.failed.load(Ordering::Relaxed),
            taken: taken.collect(),
        }
    });
    totals.collect()
}

/// Tells the new process what was counted here since the last time.
async fn tell_counted(process: &mut OldProcess, running: &Fleet, told: &mut Vec<ServiceTotals>) {
    let now = totals(running);
    let more = now.iter().zip(&*told).map(|(now, told)| {
        let taken = now.taken.iter().zip(&told.taken);
        ServiceTotals {
            service: now.service.clone(),
            requests: now.requests - told.requests,
            failed: now.failed - told.failed,
            taken: taken.map(|(now, told)| (now.0, now.1 - told.1)).collect(),
        }
    });
    let more: Vec<_> = more.filter(ServiceTotals::counts).collect();
    if !more.is_empty() {
        process.add(more).await;
    }
    *told = now;
}

/// Goes on with what an earlier process counted.
pub(crate) fn add_totals(fleet: &Fleet, totals: &[ServiceTotals]) {
    for total in totals {
        let Some(running) = fleet.find(&total.service) else { continue };
        running.counts.requests.fetch_add(total.requests, Ordering::Relaxed);
        running.counts.failed.fetch_add(total.failed, Ordering::Relaxed);
        for (server, taken) in &total.taken {
            let mut backends = running.backends.iter();
            if let Some(backend) = backends.find(|backend| backend.server.address == *server) {
                backend.state.taken.fetch_add(*taken, Ordering::Relaxed);
            }
        }
    }
}
