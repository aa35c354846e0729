//! The configuration of health checks.

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use super::port::ProxyProtocol;

/// An active check of each server.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub probe: Probe,
    /// The port to check, if not the server's.
    pub port: Option<NonZeroU16>,
    /// Check the server at its own address, whatever route clients' packets take.
    pub direct: bool,
    /// Whether to use HTTP/2 without TLS. `None`: as the service's ports do.
    pub h2_backend: Option<bool>,
    /// The PROXY protocol header to begin with, if any. `None`: as the service's ports do.
    pub proxy_proto: Option<Option<ProxyProtocol>>,
    /// Between checks of a healthy server. Default 30 s.
    pub interval: Duration,
    /// Between checks of an unhealthy server. Default: `interval`.
    pub unhealthy_interval: Duration,
    /// For one whole check. Default 5 s.
    pub timeout: Duration,
    /// Consecutive successes that bring an unhealthy server back. Default 1.
    pub healthy_threshold: u32,
    /// Consecutive failures that take a healthy server out. Default 1.
    pub unhealthy_threshold: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// The connection is accepted.
    Tcp,
    Http {
        /// Starts with `/`.
        path: Arc<str>,
        /// Upper case. Default `GET`.
        method: Arc<str>,
        /// `Host` header. Default: the server's address.
        hostname: Option<Arc<str>>,
        headers: Vec<(Arc<str>, Arc<str>)>,
        /// The status that means healthy. `None`: 200 to 399.
        status: Option<u16>,
    },
}
