//! Reads the host's network without changing it.

use std::net::IpAddr;

use tokio::sync::Mutex;

use crate::host::{
    error::HostError,
    netlink::{
        addresses::LocalAddress, connection::Netlink, interfaces::Interface, neighbour::Neighbour,
        source_route::SourceRoute,
    },
};

/// Reads from the network namespace of the thread that opened it. Needs no privilege.
pub struct HostReader {
    netlink: Netlink,
    /// The kernel dumps one list per socket at a time, and refuses a second.
    listing: Mutex<()>,
}

impl HostReader {
    /// Opens a netlink socket. Call this in a tokio runtime.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub fn open() -> Result<Self, HostError> {
        Ok(Self { netlink: Netlink::open()?, listing: Mutex::default() })
    }

    /// Returns all interfaces, ordered by index.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, HostError> {
        let _turn = self.listing.lock().await;
        self.netlink.interfaces().await
    }

    /// Returns the route of a connection from this host to `to`.
    ///
    /// # Errors
    ///
    /// There is no route, or it ends on this host.
    pub async fn route_to(&self, to: IpAddr) -> Result<SourceRoute, HostError> {
        self.netlink.route_to(to).await
    }

    /// Returns the addresses of all interfaces.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn local_addresses(&self) -> Result<Vec<LocalAddress>, HostError> {
        let _turn = self.listing.lock().await;
        self.netlink.local_addresses().await
    }

    /// Returns the link-layer address of a neighbour, if known.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn link_address(
        &self,
        interface: u32,
        neighbour: IpAddr,
    ) -> Result<Option<[u8; 6]>, HostError> {
        let _turn = self.listing.lock().await;
        self.netlink.link_address(Neighbour { interface, address: neighbour }).await
    }
}
