//! Servers that left the configuration while they had flows.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_common::abi::{QuicKey, status};

use super::{
    ids::stable_ids::StableIds,
    service_tables::{BackendEntry, IdClaim, ServiceTables},
};
use crate::{
    fleet::RunningService,
    load::LoadSlot,
    service::{Protocol, Service},
};

/// They keep their entry in `BACKENDS`, but are in no ring, until their flows have ended. Past
/// their deadline the flows are moved or reset.
#[derive(Default)]
pub(crate) struct RetiringServers {
    servers: Vec<Retiree>,
}

struct Retiree {
    service: Arc<str>,
    server: SocketAddr,
    id: u32,
    departure: Departure,
    /// The QUIC connection IDs that still lead to it.
    quic_ids: Vec<QuicKey>,
}

/// The changes made by [`RetiringServers::advance`].
#[derive(Default)]
pub(crate) struct Progress {
    /// Backends with a changed entry or status.
    pub(crate) changed: Vec<u32>,
    /// QUIC connection IDs that no longer lead to a server.
    pub(crate) unnamed: Vec<QuicKey>,
}

/// The configuration's view of a server that left, or seems to have left.
#[derive(Clone, Copy, Default)]
pub(crate) struct ConfiguredState<'f> {
    /// Its service, if it still exists.
    pub(crate) running: Option<&'f RunningService>,
    /// The configuration gives it its place in `BACKENDS` again.
    pub(crate) is_back: bool,
}

impl<'f> ConfiguredState<'f> {
    fn service(&self) -> Option<&'f Service> {
        self.running.map(|running| &*running.service)
    }

    /// Returns whether the service has the server, reachable or not.
    fn lists(&self, server: SocketAddr) -> bool {
        let backends = self.running.map_or(&[][..], |running| &running.backends);
        backends.iter().any(|backend| backend.server.address == server)
    }
}

/// When a server left.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// When this daemon first saw it.
    pub seen: Instant,
    /// How long before that it was.
    pub before: Duration,
    /// How long it may keep its flows, if the operator said so. `None`: as its service says.
    pub deadline: Option<Duration>,
}

/// A server that left and still has flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingServer {
    pub service: Arc<str>,
    pub server: SocketAddr,
    /// Its index into `BACKENDS`.
    pub id: u32,
    /// Its load slot.
    pub load: LoadSlot,
    /// Its service still exists.
    pub is_member: bool,
    /// When its flows are or were moved or reset. `None`: they go on until they end.
    pub until: Option<Instant>,
}

impl Departure {
    #[must_use]
    pub const fn now(now: Instant) -> Self {
        Self { seen: now, before: Duration::ZERO, deadline: None }
    }

    /// Returns the deadline. `service` is the current configuration; `None` if it is gone.
    ///
    /// Nothing marks the last datagram, and a sender that never pauses would keep a server for ever
    /// that is long switched off. QUIC connections do end, and their IDs tell which packets are
    /// theirs.
    fn until(self, service: Option<&Service>) -> Option<Instant> {
        let Some(service) = service else { return Some(self.seen) };
        let ends = service.protocol != Protocol::Udp || service.steering.quic.is_some();
        let deadline = self.deadline.or(service.steering.drain_deadline);
        let deadline = deadline.or((!ends).then_some(Duration::ZERO))?;
        Some(self.seen + deadline.saturating_sub(self.before))
    }
}

impl RetiringServers {
    /// Takes over all `backends` until it is known which ones are configured. `departure` is as
    /// noted, or now.
    pub(crate) fn resume(
        backends: &HashMap<u32, BackendEntry>,
        named: &HashMap<QuicKey, u32>,
        departure: impl Fn(&Arc<str>, SocketAddr) -> Departure,
        ids: &mut StableIds,
    ) -> Self {
        let mut quic_ids: HashMap<u32, Vec<QuicKey>> = HashMap::new();
        named.iter().for_each(|(&key, &id)| quic_ids.entry(id).or_default().push(key));
        let held = ids.backends().filter(|entry| backends.contains_key(&entry.2));
        let retiree = |(service, server, id): (&Arc<str>, SocketAddr, u32)| Retiree {
            service: service.clone(),
            server,
            id,
            departure: departure(service, server),
            quic_ids: quic_ids.remove(&id).unwrap_or_default(),
        };
        let servers: Vec<_> = held.map(retiree).collect();
        for retiree in &servers {
            // It has an id, so there is room.
            let _ = ids.backend(&retiree.service, retiree.server);
        }
        Self { servers }
    }

    /// Returns the QUIC connection IDs of all of them.
    pub(crate) fn quic_ids(&self) -> impl Iterator<Item = (QuicKey, u32)> {
        let of = |it: &Retiree| it.quic_ids.iter().map(|&key| (key, it.id)).collect::<Vec<_>>();
        self.servers.iter().flat_map(of)
    }

    /// Removes a QUIC connection ID that another server uses from now on. Returns whether it was
    /// here.
    pub(crate) fn yields(&mut self, id: &QuicKey) -> bool {
        let mut theirs = self.servers.iter_mut().map(|it| &mut it.quic_ids);
        let Some(quic_ids) = theirs.find(|quic_ids| quic_ids.contains(id)) else { return false };
        quic_ids.retain(|other| other != id);
        true
    }

    /// Takes over the backends of `old` that do not stay, with their claims. Returns the QUIC
    /// connection IDs that still lead to them.
    pub(crate) fn take_over(
        &mut self,
        old: &ServiceTables,
        now: Instant,
        stays: impl Fn(u32) -> bool,
        is_free: impl Fn(&QuicKey) -> bool,
    ) -> Vec<(QuicKey, u32)> {
        let mut named = Vec::new();
        let placed = |id| old.backends.iter().any(|entry| entry.0 == id);
        for claim in &old.claims {
            if let &IdClaim::Backend(ref service, server, id) = claim
                && placed(id)
                && !stays(id)
            {
                let is_its = |entry: &&(QuicKey, u32)| entry.1 == id && is_free(&entry.0);
                let quic_ids: Vec<_> = old.quic_ids.iter().filter(is_its).copied().collect();
                self.servers.push(Retiree {
                    service: service.clone(),
                    server,
                    id,
                    departure: Departure::now(now),
                    quic_ids: quic_ids.iter().map(|entry| entry.0).collect(),
                });
                named.extend(quic_ids);
            }
        }
        named
    }

    /// Returns whether the claim was taken over.
    pub(crate) fn keeps(&self, claim: &IdClaim) -> bool {
        let IdClaim::Backend(_, _, id) = claim else { return false };
        self.servers.iter().any(|retiree| retiree.id == *id)
    }

    /// Removes or expels the servers that are due.
    pub(crate) fn advance<'f>(
        &mut self,
        now: Instant,
        has_flows: impl Fn(LoadSlot, u32, Instant) -> bool,
        standing: impl Fn(&Arc<str>, u32) -> ConfiguredState<'f>,
        backends: &mut HashMap<u32, BackendEntry>,
        ids: &mut StableIds,
    ) -> Progress {
        let mut done = Progress::default();
        self.servers.retain_mut(|retiree| {
            let Retiree { ref service, server, id, departure, ref mut quic_ids } = *retiree;
            let standing = standing(service, id);
            let load = ids.load_of(server);
            if standing.is_back || !load.is_some_and(|load| has_flows(load, id, departure.seen)) {
                ids.release_backend(service, server);
                done.unnamed.append(quic_ids);
                if !standing.is_back {
                    backends.remove(&id);
                    done.changed.push(id);
                }
                return false;
            }
            if !standing.lists(server) {
                let is_over = departure.until(standing.service()).is_some_and(|at| at <= now);
                let status = if is_over { status::GONE } else { status::LEAVING };
                if let Some(placed) = backends.get_mut(&id).filter(|it| it.status != status) {
                    placed.status = status;
                    done.changed.push(id);
                }
            }
            true
        });
        done
    }

    /// Returns the servers that the configuration does not contain any more.
    pub(crate) fn leavers<'f>(
        &self,
        standing: impl Fn(&Arc<str>, u32) -> ConfiguredState<'f>,
        ids: &StableIds,
    ) -> Vec<LeavingServer> {
        let leaver = |retiree: &Retiree| {
            let &Retiree { ref service, server, id, departure, .. } = retiree;
            let (standing, load) = (standing(service, id), ids.load_of(server)?);
            let until = departure.until(standing.service());
            let (service, is_member) = (service.clone(), standing.running.is_some());
            let leaver = LeavingServer { service, server, id, load, is_member, until };
            (!standing.is_back && !standing.lists(server)).then_some(leaver)
        };
        self.servers.iter().filter_map(leaver).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }
}
