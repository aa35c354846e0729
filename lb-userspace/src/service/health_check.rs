//! How servers are checked.

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use super::port::ProxyProtocol;

/// An active check, made of each server.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub probe: Probe,
    /// Replaces the server's port.
    pub port: Option<NonZeroU16>,
    /// Ask the server at its own address, however clients' packets reach it.
    pub direct: bool,
    /// Ask by HTTP/2 without TLS, or not. `None`: as the service's ports do.
    pub h2_backend: Option<bool>,
    /// Begin with a PROXY protocol header, or not. `None`: as the service's ports do.
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
