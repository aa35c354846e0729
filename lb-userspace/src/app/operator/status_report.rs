//! Collects the status that the admin socket reports.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwap;
use lb_common::verdict::Reason;
use tokio::sync::watch;

use crate::app::reconcile::{
    answer_paths::{ServerProblems, is_nat},
    interfaces::Shown,
    repairs::Counts,
    sources::Room,
    sweep::SweepSummary,
};
use crate::{
    admin::{
        BackendStatus, CertificateStatus, Drops, FailedHandshakes, Flows, HandshakeStatus,
        LackStatus, ServiceStatus, SourcePorts, Status, Verdicts,
    },
    control::{LeavingServer, StableIds},
    datapath::{Counters, DatapathError},
    exhaustion::{ExhaustionCounters, FailedOperation},
    fleet::{Backend, Fleet, RunningService},
    load::Load,
    proxy::{CertificateStore, HandshakeStats},
    service::{Handler, Path, Service},
};

/// The sources of the status.
pub(crate) struct StatusReport {
    pub(crate) started: Instant,
    /// Processes of earlier upgrades that drain.
    pub(crate) draining: Arc<ArcSwap<Vec<u32>>>,
    pub(crate) interfaces: Shown,
    pub(crate) services: Arc<ArcSwap<Vec<ReportedService>>>,
    /// Servers that left the configuration and have flows.
    pub(crate) leavers: Arc<ArcSwap<Vec<LeavingServer>>>,
    pub(crate) counters: Counters,
    pub(crate) load: Load,
    /// The result of the last sweep.
    pub(crate) swept: watch::Receiver<SweepSummary>,
    pub(crate) max_flows: u32,
    pub(crate) handshakes: Arc<HandshakeStats>,
    pub(crate) certificates: Arc<CertificateStore>,
    pub(crate) max_half_open: u32,
    pub(crate) source_ports: Room,
    pub(crate) exhaustion: Arc<ExhaustionCounters>,
    pub(crate) problems: ServerProblems,
    pub(crate) repaired: Counts,
}

/// A service with the ids of its backends in the kernel's tables. `None`: it has none there.
pub(crate) struct ReportedService {
    running: Arc<RunningService>,
    ids: Vec<Option<u32>>,
}

impl ReportedService {
    pub(crate) fn all(fleet: &Fleet, ids: &StableIds) -> Vec<Self> {
        let reported = |running: &Arc<RunningService>| {
            let name = &running.service.name;
            let backends = running.backends.iter();
            let id = |backend: &Arc<Backend>| ids.backend_of(name, backend.server.address);
            Self { ids: backends.map(id).collect(), running: running.clone() }
        };
        fleet.services.iter().map(reported).collect()
    }
}

impl StatusReport {
    /// # Errors
    ///
    /// The kernel's counters cannot be read.
    pub(crate) fn status(&self) -> Result<Status, DatapathError> {
        let counted = self.counters.verdicts()?;
        let drop =
            |(reason, packets): (Reason, u64)| Drops { reason: reason.name().to_owned(), packets };
        let leavers = self.leavers.load();
        let reported = self.services.load();
        let services = reported.iter().map(|service| self.service(service, &leavers));
        let services = services.chain(self.removed(&leavers));
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            draining_processes: self.draining.load().to_vec(),
            interfaces: self.interfaces.load().to_vec(),
            services: services.collect::<Result<_, _>>()?,
            drops: counted.drops().map(drop).collect(),
            verdicts: Verdicts {
                pass: counted.pass,
                proxy: counted.proxy,
                steer: counted.steer,
                reply: counted.reply,
            },
            handshakes: self.handshakes(),
            certificates: self.certificates(SystemTime::now()),
            flows: self.flows()?,
            lacks: self.lacks(),
            warnings: self.warnings(),
            repaired: self.repaired.shown(),
        })
    }

    /// Returns each warning once: several servers may have the same problem.
    fn warnings(&self) -> Vec<String> {
        let problems = self.problems.load();
        let texts: BTreeSet<_> = problems.values().collect();
        texts.into_iter().map(ToString::to_string).collect()
    }

    fn lacks(&self) -> Vec<LackStatus> {
        let lack = |undone: FailedOperation| LackStatus {
            undone: undone.name().to_owned(),
            count: self.exhaustion.count(undone),
        };
        FailedOperation::ALL.map(lack).into()
    }

    fn flows(&self) -> Result<Flows, DatapathError> {
        let population = self.swept.borrow().population;
        let evictions = self.counters.evictions()?;
        Ok(Flows {
            live: population.live(),
            max: self.max_flows.into(),
            half_open: population.half_open,
            max_half_open: self.max_half_open.into(),
            closed: population.closed,
            evicted: evictions.established,
            evicted_half_open: evictions.half_open,
            crowded: evictions.crowded,
            revived: evictions.revived,
            rerouted: evictions.rerouted,
        })
    }

    fn handshakes(&self) -> HandshakeStatus {
        let failed = self.handshakes.failed();
        let failed =
            failed.map(|(kind, count)| FailedHandshakes { kind: kind.to_owned(), count }).collect();
        HandshakeStatus { completed: self.handshakes.completed(), failed }
    }

    fn certificates(&self, now: SystemTime) -> Vec<CertificateStatus> {
        let held = self.certificates.held().into_iter().map(|held| CertificateStatus {
            path: held.files.cert,
            names: held.names,
            not_after: held.validity.map(|validity| validity.not_after),
            concern: held.validity.and_then(|validity| validity.concern(now)),
            problem: held.problem,
        });
        held.collect()
    }

    /// Returns services that are no longer configured, by the servers that have flows of theirs.
    fn removed<'a>(
        &'a self,
        leavers: &'a [LeavingServer],
    ) -> impl Iterator<Item = Result<ServiceStatus, DatapathError>> + 'a {
        let gone = leavers.iter().filter(|leaver| !leaver.is_member);
        let names: BTreeSet<&Arc<str>> = gone.map(|leaver| &leaver.service).collect();
        names.into_iter().map(|name| {
            let theirs = leavers.iter().filter(|leaver| leaver.service == *name);
            let backends: Vec<_> = theirs.map(|it| self.leaver(it)).collect::<Result<_, _>>()?;
            Ok(ServiceStatus {
                name: name.to_string(),
                path: "steer".to_owned(),
                protocol: String::new(),
                forwarding: None,
                strategy: String::new(),
                addresses: Vec::new(),
                ports: Vec::new(),
                counts: "connections".to_owned(),
                requests: backends.iter().map(|backend| backend.taken).sum(),
                failed: 0,
                no_source_port: 0,
                removed: true,
                backends,
            })
        })
    }

    /// Returns a server that left its service, or was removed with it.
    fn leaver(&self, leaver: &LeavingServer) -> Result<BackendStatus, DatapathError> {
        Ok(BackendStatus {
            address: leaver.server,
            up: true,
            draining: true,
            removed: true,
            drain_remaining_ms: leaver.until.map(until),
            server_id: None,
            weight: 0,
            live: self.load.count(leaver.load),
            unanswered: None,
            taken: self.counters.opened(leaver.id)?,
            source_ports: None,
        })
    }

    fn service(
        &self,
        reported: &ReportedService,
        leavers: &[LeavingServer],
    ) -> Result<ServiceStatus, DatapathError> {
        let ReportedService { running, ids } = reported;
        let service = &running.service;
        let is_nat = is_nat(service);
        let (mut steered, mut exhausted) = (0, 0);
        let mut backends = Vec::with_capacity(ids.len());
        for (backend, id) in running.backends.iter().zip(ids) {
            let opened = id.map_or(Ok(0), |id| self.counters.opened(id))?;
            exhausted += id.map_or(Ok(0), |id| self.counters.exhausted(id))?;
            steered += opened;
            backends.push(BackendStatus {
                address: backend.server.address,
                up: backend.is_up(),
                draining: backend.is_draining(),
                removed: false,
                drain_remaining_ms: backend.drain_deadline().map(until),
                server_id: backend.server.server_id.as_deref().map(hexadecimal),
                weight: backend.server.weight,
                live: self.load.count(backend.slot),
                unanswered: is_nat.then(|| self.swept.borrow().answers(backend.slot).unanswered),
                taken: backend.state.taken.load(Ordering::Relaxed) + opened,
                source_ports: self.source_ports(service, backend),
            });
        }
        let left = leavers.iter().filter(|leaver| leaver.service == service.name);
        for leaver in left {
            let backend = self.leaver(leaver)?;
            steered += backend.taken;
            backends.push(backend);
        }
        let steering = service.is_steered().then_some(&service.steering);
        Ok(ServiceStatus {
            name: service.name.to_string(),
            path: if service.is_steered() { "steer" } else { "proxy" }.to_owned(),
            protocol: service.protocol.to_string(),
            forwarding: steering.map(|it| it.forwarding.name().to_owned()),
            strategy: steering.map_or(service.pool.strategy, |it| it.strategy).name().to_owned(),
            addresses: service.addresses.clone(),
            ports: service.ports.iter().map(ToString::to_string).collect(),
            counts: counts(service).to_owned(),
            requests: running.counts.requests.load(Ordering::Relaxed) + steered,
            failed: running.counts.failed.load(Ordering::Relaxed),
            no_source_port: exhausted,
            removed: false,
            backends,
        })
    }
}

impl StatusReport {
    /// `None`: its packets need no source port, or it has no route now.
    fn source_ports(&self, service: &Service, backend: &Backend) -> Option<SourcePorts> {
        let needs = is_nat(service);
        let server = backend.server.address;
        let room = self.source_ports.load().get(&server.ip()).copied().filter(|_| needs)?;
        // Each port that clients may use is a port of the server.
        let steered = service.ports.iter().filter(|port| port.path() == Path::Steer);
        let ports: u64 = match server.port() {
            0 => steered.map(|port| port.numbers().len() as u64).sum(),
            _ => 1,
        };
        let used = self.swept.borrow().ports(backend.slot, service.protocol);
        Some(SourcePorts { used, room: u64::from(room) * ports })
    }
}

/// Returns what `taken` counts: HTTP/2 and kept connections bring many requests each.
fn counts(service: &Service) -> &'static str {
    match service.ports.iter().any(|port| port.has(Handler::Http)) {
        true => "requests",
        false => "connections",
    }
}

/// Milliseconds until a deadline.
fn until(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    u64::try_from(left).unwrap_or(u64::MAX)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_id_has_two_digits_a_byte() {
        assert_eq!(super::hexadecimal(&[0, 0xab, 7]), "00ab07");
    }
}
