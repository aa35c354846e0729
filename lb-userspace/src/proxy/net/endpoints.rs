//! Between whom a connection is.

use std::net::SocketAddr;

/// IPv4 addresses are never in IPv6 clothes here, unlike in what the sockets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// Our address that was connected to: services are found by it.
    pub local: SocketAddr,
    /// The client. A proxy in front of us may have told who that is.
    pub client: SocketAddr,
    /// Where the client connected to, from its own point of view.
    pub server: SocketAddr,
}

impl Endpoints {
    pub(crate) fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        let local = canonical(local);
        Self { local, client: canonical(peer), server: local }
    }

    /// The same connection as the proxy in front of us announced it.
    pub(crate) fn announced(self, client: SocketAddr, server: SocketAddr) -> Self {
        Self { client: canonical(client), server: canonical(server), ..self }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
