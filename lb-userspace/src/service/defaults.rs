//! Default values of services, ports, pools and checks.

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use super::{
    definition::{Protocol, Service},
    health_check::{HealthCheck, Probe},
    limits::{Concurrency, ConcurrencyKind, Queue},
    pool::{Pool, Server},
    port::{HttpOptions, Port},
    steering::Steering,
    strategy::Strategy,
};

impl Service {
    /// Returns a TCP service without addresses and ports.
    #[must_use]
    pub fn plain(name: impl Into<Arc<str>>, pool: Pool) -> Self {
        Self {
            name: name.into(),
            protocol: Protocol::Tcp,
            addresses: Vec::new(),
            hostnames: Vec::new(),
            ports: Vec::new(),
            steering: Steering::default(),
            private: None,
            concurrency: Concurrency::default(),
            limits: None,
            queue: Queue::default(),
            pool,
        }
    }
}

impl Port {
    /// Returns a single port, passed through.
    #[must_use]
    pub fn plain(port: NonZeroU16) -> Self {
        Self {
            port,
            end_port: port,
            handlers: Vec::new(),
            tls: None,
            proxy_proto: None,
            force_https: None,
            idle_timeout: None,
            http: HttpOptions::default(),
        }
    }
}

impl Pool {
    /// Returns a pool without health checks.
    #[must_use]
    pub const fn plain(strategy: Strategy, servers: Vec<Server>) -> Self {
        Self { strategy, servers, health_check: None }
    }
}

impl HealthCheck {
    #[must_use]
    pub const fn plain(probe: Probe) -> Self {
        Self {
            probe,
            port: None,
            direct: false,
            h2_backend: None,
            proxy_proto: None,
            interval: Duration::from_secs(30),
            unhealthy_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            healthy_threshold: 1,
            unhealthy_threshold: 1,
        }
    }
}

impl Default for Concurrency {
    fn default() -> Self {
        Self { kind: ConcurrencyKind::Connections, soft_limit: 20, hard_limit: None }
    }
}
