//! The running state of the configured services: health and counters.

use std::{
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

/// All running services. Replaced as a whole when the configuration changes.
#[derive(Clone, Default)]
pub struct Fleet {
    pub services: Vec<Arc<RunningService>>,
}

/// A configured service with its backends.
pub struct RunningService {
    pub service: Arc<Service>,
    /// In the order of `service.pool.servers`.
    pub backends: Vec<Arc<Backend>>,
    /// Requests (http) or connections (otherwise) that the proxy took for this service.
    pub requests: AtomicU64,
    /// Those that ended in an error of ours (502, 503, 504, refused, cut off).
    pub failed: AtomicU64,
    revision: AtomicU64,
    /// Those that are being served, if the service has limits.
    pub active: AtomicU64,
}

impl RunningService {
    /// Takes `backends` in the order of the service's servers.
    #[must_use]
    pub fn new(service: Arc<Service>, backends: Vec<Arc<Backend>>) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            service,
            backends,
            requests: zero(),
            failed: zero(),
            revision: zero(),
            active: zero(),
        }
    }

    /// Counts a request or connection.
    pub fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failed request or connection.
    pub fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
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

/// A server as a backend of one service.
pub struct Backend {
    pub server: Server,
    pub slot: LoadSlot,
    /// Requests that the proxy sent to it, or connections if it does not read requests. The kernel
    /// counts steered flows itself.
    pub taken: AtomicU64,
    /// The latency of its answers, if the service's strategy uses it.
    pub latency: Latency,
    up: AtomicBool,
    speaks_h2c: AtomicBool,
    draining: AtomicBool,
    expelled: AtomicBool,
    /// For the admin interface; requests do not read it.
    drain_deadline: Mutex<Option<Instant>>,
}

impl Backend {
    /// Starts as up: without a health check it stays so, with a check until that fails.
    #[must_use]
    pub fn new(server: Server, slot: LoadSlot) -> Self {
        Self {
            draining: AtomicBool::new(!server.is_offered()),
            expelled: AtomicBool::new(false),
            drain_deadline: Mutex::default(),
            up: AtomicBool::new(true),
            speaks_h2c: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            latency: Latency::default(),
            server,
            slot,
        }
    }

    /// Returns whether it may get something new.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_up() && !self.is_draining()
    }

    /// Returns whether it drains: it gets nothing new, but what it has may end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Sets whether it drains. A server without a weight, or that drains by configuration, always
    /// drains.
    pub fn set_draining(&self, draining: bool) {
        let draining = draining || !self.server.is_offered();
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Returns whether it drains past its deadline: what it has is ended.
    #[must_use]
    pub fn is_expelled(&self) -> bool {
        self.expelled.load(Ordering::Relaxed)
    }

    pub fn set_expelled(&self, expelled: bool) {
        self.expelled.store(expelled, Ordering::Relaxed);
    }

    /// Returns when a draining backend will be, or was, expelled.
    #[must_use]
    pub fn drain_deadline(&self) -> Option<Instant> {
        *self.drain_deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_drain_deadline(&self, deadline: Option<Instant>) {
        *self.drain_deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    /// Returns whether it answered when HTTP/2 without TLS was last tried. Only probed where that
    /// matters.
    #[must_use]
    pub fn speaks_h2c(&self) -> bool {
        self.speaks_h2c.load(Ordering::Relaxed)
    }

    /// Sets that. Returns the previous value.
    pub fn set_speaks_h2c(&self, speaks: bool) -> bool {
        self.speaks_h2c.swap(speaks, Ordering::Relaxed)
    }
}
