//! A service's servers.

use std::{net::SocketAddr, sync::Arc};

use super::{health_check::HealthCheck, strategy::Strategy};

/// Servers and the strategy of choosing among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The proxy's strategy; the kernel's is `Steering::strategy`.
    pub strategy: Strategy,
    /// Never empty; addresses differ.
    pub servers: Vec<Server>,
    pub health_check: Option<HealthCheck>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The address. Port 0: the port that the client used; only for services without handlers.
    pub address: SocketAddr,
    /// Share of new flows relative to the other servers. 0: none.
    pub weight: u16,
    /// Gets nothing new, whatever its weight; what it has may end.
    pub drain: bool,
    pub region: Option<Arc<str>>,
    pub instance: Option<Arc<str>>,
    /// The server id in its QUIC connection IDs. Present exactly if the service has
    /// `Steering::quic`, and of the length set there.
    pub server_id: Option<Arc<[u8]>>,
}

impl Server {
    /// Returns a server with weight 1 and defaults otherwise.
    #[must_use]
    pub const fn at(address: SocketAddr) -> Self {
        Self { address, weight: 1, drain: false, region: None, instance: None, server_id: None }
    }

    /// Returns whether the configuration lets it get something new.
    #[must_use]
    pub const fn is_offered(&self) -> bool {
        self.weight > 0 && !self.drain
    }
}
