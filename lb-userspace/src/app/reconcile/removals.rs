//! Proxied connections of what was removed from the configuration: they go on until they end, or
//! until their deadline.
//!
//! While they do, the kernel's tables still lead packets for their address and port to the proxy,
//! and the address stays announced. Nothing new is served there: it is reset.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::info;

use crate::{
    fleet::{Backend, Fleet},
    proxy::Routes,
    service::{Path, Service},
};

/// Between looks at whether connections have ended.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Removals {
    frontends: Vec<RemovedFrontend>,
    backends: Vec<RemovedBackend>,
    next: Option<Instant>,
}

/// An address and port where proxied connections go on.
struct RemovedFrontend {
    at: SocketAddr,
    live: Arc<AtomicUsize>,
    until: Instant,
}

/// A server that proxied connections may go on to.
struct RemovedBackend {
    service: Arc<str>,
    backend: Arc<Backend>,
    until: Instant,
    /// From then on it gets nothing new. Requests that began just before may have no other server:
    /// the new configuration's are not theirs. `None`: its whole service was removed, and it serves
    /// the last requests.
    closes: Option<Instant>,
}

/// What [`Removals::advance`] changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advanced {
    /// Fewer addresses and ports are kept.
    pub(crate) addresses: bool,
    /// Servers were expelled: what goes on to them is to be ended.
    pub(crate) expelled: bool,
}

impl Removals {
    /// Takes over what `running` with its routes has, and `desired` has no more.
    pub(crate) fn note(
        &mut self,
        (running, routes): (&Fleet, &Routes),
        (desired, next): (&Fleet, &Routes),
        now: Instant,
    ) {
        let was_at = |at: SocketAddr| {
            let services = running.services.iter().map(|running| &*running.service);
            services.filter(move |service| is_proxied_at(service, at))
        };
        for (at, live) in routes.removed_in(next) {
            let deadline = was_at(at).map(Service::proxied_drain_deadline).max();
            let until = now + deadline.unwrap_or_default();
            self.frontends.push(RemovedFrontend { at, live, until });
        }
        let names: BTreeSet<_> = desired.services.iter().map(|it| &it.service.name).collect();
        let states = desired.services.iter().flat_map(|running| &running.backends);
        let kept: BTreeSet<_> = states.map(|backend| Arc::as_ptr(&backend.state)).collect();
        for running in &running.services {
            let service = &running.service;
            if service.ports.iter().all(|port| port.path() == Path::Steer) {
                continue;
            }
            let gone = running.backends.iter();
            let gone = gone.filter(|backend| !kept.contains(&Arc::as_ptr(&backend.state)));
            let until = now + service.proxied_drain_deadline();
            let closes = names.contains(&service.name).then_some(now + LOOK);
            self.backends.extend(gone.map(|backend| RemovedBackend {
                service: service.name.clone(),
                backend: backend.clone(),
                until,
                closes,
            }));
        }
        for backend in desired.services.iter().flat_map(|running| &running.backends) {
            backend.set_removed(false);
        }
        // What is served again is not kept for its own sake.
        let services = &desired.services;
        let is_served = |at| services.iter().any(|it| is_declared_at(&it.service, at));
        self.frontends.retain(|frontend| !is_served(frontend.at));
        self.backends.retain(|removed| !kept.contains(&Arc::as_ptr(&removed.backend.state)));
        self.schedule(now);
    }

    /// Returns the addresses and ports where connections go on.
    pub(crate) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.frontends.iter().map(|frontend| frontend.at).collect()
    }

    /// Returns when [`advance`](Self::advance) has something to look at.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Forgets what has ended, and expels servers that are past their deadline.
    pub(crate) fn advance(&mut self, now: Instant) -> Advanced {
        let (frontends, mut expelled) = (self.frontends.len(), false);
        self.frontends
            .retain(|frontend| frontend.until > now && frontend.live.load(Ordering::Relaxed) > 0);
        self.backends.retain(|removed| {
            if removed.closes.is_some_and(|at| at <= now) {
                removed.backend.set_removed(true);
            }
            let is_over = removed.until <= now;
            if is_over {
                let (service, server) = (&removed.service, removed.backend.server.address);
                info!(%service, %server, "connections that went on to this removed server end");
                removed.backend.set_expelled(true);
                expelled = true;
            }
            // Where nothing but this holds it, nothing goes on.
            let RemovedBackend { backend, .. } = removed;
            let holders = Arc::strong_count(backend).max(Arc::strong_count(&backend.state));
            !is_over && holders > 1
        });
        self.schedule(now);
        Advanced { addresses: self.frontends.len() < frontends, expelled }
    }

    fn schedule(&mut self, now: Instant) {
        let is_empty = self.frontends.is_empty() && self.backends.is_empty();
        self.next = (!is_empty).then_some(now + LOOK);
    }
}

fn is_declared_at(service: &Service, at: SocketAddr) -> bool {
    service.addresses.contains(&at.ip())
        && service.ports.iter().any(|port| port.numbers().contains(&at.port()))
}

fn is_proxied_at(service: &Service, at: SocketAddr) -> bool {
    let mut ports = service.ports.iter().filter(|port| port.path() == Path::Proxy);
    service.addresses.contains(&at.ip()) && ports.any(|port| port.numbers().contains(&at.port()))
}
