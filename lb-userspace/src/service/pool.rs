//! A service's servers.

use std::{net::SocketAddr, sync::Arc};

use super::{health_check::HealthCheck, strategy::Strategy};

/// Backends and how to choose among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The proxy's; the kernel's is `Steering::strategy`.
    pub strategy: Strategy,
    /// Never empty; addresses differ.
    pub servers: Vec<Server>,
    pub health_check: Option<HealthCheck>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Port 0: the one that the client asked for. Only of services without handlers.
    pub address: SocketAddr,
    /// Share of new flows relative to the other servers. 0: none.
    pub weight: u16,
    /// Takes nothing new, whatever its weight; what it has may end.
    pub drain: bool,
    pub region: Option<Arc<str>>,
    pub instance: Option<Arc<str>>,
    /// What its QUIC connection ids begin with. Present exactly where the service has
    /// `Steering::quic`, and as long as that says.
    pub server_id: Option<Arc<[u8]>>,
}

impl Server {
    /// With weight 1 and nothing else.
    #[must_use]
    pub const fn at(address: SocketAddr) -> Self {
        Self { address, weight: 1, drain: false, region: None, instance: None, server_id: None }
    }

    /// Whether it may take something new as far as the configuration goes.
    #[must_use]
    pub const fn is_offered(&self) -> bool {
        self.weight > 0 && !self.drain
    }
}
