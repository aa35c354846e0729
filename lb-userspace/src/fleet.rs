//! The running twin of the configured services: who is up, and what each has carried.

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

/// All services that run now. Replaced whole when the configuration changes.
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
    /// Those of them that ended in an error of ours (502, 503, 504, refused, cut off).
    pub failed: AtomicU64,
    revision: AtomicU64,
    /// Those that are served now, where the service has limits.
    pub active: AtomicU64,
}

impl RunningService {
    /// `backends` in the order of the service's servers.
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

    /// Counts a request or connection that it takes.
    pub fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one of them that failed.
    pub fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// To be called after a change of its backends, so that those who follow it look again.
    pub fn touch(&self) {
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Differs after every [`touch`](Self::touch).
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }
}

/// A server as a backend of one service.
pub struct Backend {
    pub server: Server,
    pub slot: LoadSlot,
    /// Times the proxy brought it a request, or a connection of which it reads none. The kernel
    /// counts steered flows itself.
    pub taken: AtomicU64,
    /// Of its answers, where the service's strategy goes by it.
    pub latency: Latency,
    up: AtomicBool,
    speaks_h2c: AtomicBool,
    draining: AtomicBool,
    expelled: AtomicBool,
    /// For those who ask the daemon: no request looks at it.
    drain_deadline: Mutex<Option<Instant>>,
}

impl Backend {
    /// Starts up: a backend without a health check stays so, one with a check until it fails.
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

    /// Whether something new may go to it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_up() && !self.is_draining()
    }

    /// Takes nothing new; what it has may end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// A server without a weight, or that drains by configuration, drains always.
    pub fn set_draining(&self, draining: bool) {
        let draining = draining || !self.server.is_offered();
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Draining past its deadline: what it has is ended.
    #[must_use]
    pub fn is_expelled(&self) -> bool {
        self.expelled.load(Ordering::Relaxed)
    }

    pub fn set_expelled(&self, expelled: bool) {
        self.expelled.store(expelled, Ordering::Relaxed);
    }

    /// When a draining one will be expelled, or was.
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

    /// Whether it answered when it was last spoken to in HTTP/2 without TLS. Only asked where that
    /// matters.
    #[must_use]
    pub fn speaks_h2c(&self) -> bool {
        self.speaks_h2c.load(Ordering::Relaxed)
    }

    /// What was known before.
    pub fn set_speaks_h2c(&self, speaks: bool) -> bool {
        self.speaks_h2c.swap(speaks, Ordering::Relaxed)
    }
}
