//! The running state of the configured services: health and counters.
//!
//! A changed configuration gives a changed service another [`RunningService`], and its servers
//! other [`Backend`]s. What happened so far stays: both hold their counts and states by a pointer
//! that their successors take over.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{
    load::{Latency, LoadSlot},
    service::{Server, Service},
};

/// All running services. Replaced as a whole when the configuration changes: a service that did not
/// change keeps its [`RunningService`].
#[derive(Clone, Default)]
pub struct Fleet {
    pub services: Vec<Arc<RunningService>>,
    /// Where proxied services were that are no longer configured, while their connections go on.
    pub removed: BTreeSet<SocketAddr>,
}

impl Fleet {
    /// Returns a fleet where nothing was removed.
    #[must_use]
    pub fn new(services: Vec<Arc<RunningService>>) -> Self {
        Self { services, removed: BTreeSet::new() }
    }

    /// Returns the service with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<RunningService>> {
        self.services.iter().find(|running| *running.service.name == *name)
    }
}

/// A configured service with its backends.
pub struct RunningService {
    pub service: Arc<Service>,
    /// In the order of `service.pool.servers`.
    pub backends: Vec<Arc<Backend>>,
    pub counts: Arc<ServiceCounts>,
    revision: AtomicU64,
}

/// What the proxy counts of a service, over all changes of its configuration.
#[derive(Default)]
pub struct ServiceCounts {
    /// Requests (http) or connections (otherwise) that the proxy took for this service.
    pub requests: AtomicU64,
    /// Those that ended in an error of ours (502, 503, 504, refused, cut off).
    pub failed: AtomicU64,
    /// Those that are being served, if the service has limits.
    pub active: AtomicU64,
}

impl RunningService {
    /// Takes `backends` in the order of the service's servers.
    #[must_use]
    pub fn new(service: Arc<Service>, backends: Vec<Arc<Backend>>) -> Self {
        Self::counting(service, backends, Arc::default())
    }

    /// The same, going on with the counts of an earlier configuration.
    #[must_use]
    pub fn counting(
        service: Arc<Service>,
        backends: Vec<Arc<Backend>>,
        counts: Arc<ServiceCounts>,
    ) -> Self {
        Self { service, backends, counts, revision: AtomicU64::new(0) }
    }

    /// Counts a request or connection.
    pub fn count(&self) {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failed request or connection.
    pub fn count_failed(&self) {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Marks a change of its backends, so that followers look again.
    pub fn touch(&self) {
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Returns a number that differs after every [`touch`](Self::touch).
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }
}

/// A server as a backend of one service, as it is configured now.
pub struct Backend {
    pub server: Server,
    pub slot: LoadSlot,
    pub state: Arc<BackendState>,
}

/// What is known of a service's server, over all changes of its configuration.
pub struct BackendState {
    /// Requests that the proxy sent to it, or connections if it does not read requests. The kernel
    /// counts steered flows itself.
    pub taken: AtomicU64,
    /// The latency of its answers, if the service's strategy uses it.
    pub latency: Latency,
    up: AtomicBool,
    speaks_h2c: AtomicBool,
    draining: AtomicBool,
    removed: AtomicBool,
    expelled: AtomicBool,
    /// For the admin interface; requests do not read it.
    drain_deadline: Mutex<Option<Instant>>,
}

impl Default for BackendState {
    fn default() -> Self {
        Self {
            taken: AtomicU64::new(0),
            latency: Latency::default(),
            up: AtomicBool::new(true),
            speaks_h2c: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            expelled: AtomicBool::new(false),
            drain_deadline: Mutex::default(),
        }
    }
}

impl Backend {
    /// Starts as up: without a health check it stays so, with a check until that fails.
    #[must_use]
    pub fn new(server: Server, slot: LoadSlot) -> Self {
        Self { server, slot, state: Arc::default() }
    }

    /// Returns the same backend with another configuration.
    #[must_use]
    pub fn configured(&self, server: Server) -> Self {
        Self { server, slot: self.slot, state: self.state.clone() }
    }

    /// Returns whether it may get something new.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_up() && !self.is_draining()
    }

    /// Returns whether it drains: it gets nothing new, but what it has may end. A server without a
    /// weight, or that drains by configuration, always drains.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        let BackendState { draining, removed, .. } = &*self.state;
        !self.server.is_offered()
            || draining.load(Ordering::Relaxed)
            || removed.load(Ordering::Relaxed)
    }

    /// Sets whether it drains by order.
    pub fn set_draining(&self, draining: bool) {
        self.state.draining.store(draining, Ordering::Relaxed);
    }

    /// Sets whether the configuration has it no more. Requests that began under an earlier one may
    /// still look for a backend.
    pub fn set_removed(&self, removed: bool) {
        self.state.removed.store(removed, Ordering::Relaxed);
    }

    /// Returns whether it drains past its deadline: what it has is ended.
    #[must_use]
    pub fn is_expelled(&self) -> bool {
        self.state.expelled.load(Ordering::Relaxed)
    }

    pub fn set_expelled(&self, expelled: bool) {
        self.state.expelled.store(expelled, Ordering::Relaxed);
    }

    /// Returns when a draining backend will be, or was, expelled.
    #[must_use]
    pub fn drain_deadline(&self) -> Option<Instant> {
        *self.state.drain_deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_drain_deadline(&self, deadline: Option<Instant>) {
        let mut kept = self.state.drain_deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = deadline;
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state.up.load(Ordering::Relaxed)
    }

    pub fn set_up(&self, up: bool) {
        self.state.up.store(up, Ordering::Relaxed);
    }

    /// Returns whether it answered when HTTP/2 without TLS was last tried. Only probed where that
    /// matters.
    #[must_use]
    pub fn speaks_h2c(&self) -> bool {
        self.state.speaks_h2c.load(Ordering::Relaxed)
    }

    /// Sets that. Returns the previous value.
    pub fn set_speaks_h2c(&self, speaks: bool) -> bool {
        self.state.speaks_h2c.swap(speaks, Ordering::Relaxed)
    }
}
