//! The host's network as it is, for who changes nothing there.

use std::net::IpAddr;

use super::{HostError, Interface, Way, netlink::Netlink};

/// Asks the network namespace of the thread that opened it. Needs no privilege.
pub struct Surroundings(Netlink);

impl Surroundings {
    /// To be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub fn open() -> Result<Self, HostError> {
        Netlink::open().map(Self)
    }

    /// All interfaces, in the order of their index.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, HostError> {
        self.0.interfaces().await
    }

    /// The way that a connection of this host to `to` would take.
    ///
    /// # Errors
    ///
    /// There is no route, or it ends on this host.
    pub async fn way_to(&self, to: IpAddr) -> Result<Way, HostError> {
        self.0.way_to(to).await
    }
}
