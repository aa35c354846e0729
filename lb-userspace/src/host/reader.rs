//! The host's network as it is, for who changes nothing there.

use std::net::IpAddr;

use tokio::sync::Mutex;

use super::{
    addresses::LocalAddress, error::HostError, interfaces::Interface, neighbours::entry::Neighbour,
    netlink::Netlink, source_route::SourceRoute,
};

/// Asks the network namespace of the thread that opened it. Needs no privilege.
pub struct HostReader {
    netlink: Netlink,
    /// The kernel makes one list at a time for a socket, and refuses the next.
    listing: Mutex<()>,
}

impl HostReader {
    /// To be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub fn open() -> Result<Self, HostError> {
        Ok(Self { netlink: Netlink::open()?, listing: Mutex::default() })
    }

    /// All interfaces, in the order of their index.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, HostError> {
        let _turn = self.listing.lock().await;
        self.netlink.interfaces().await
    }

    /// The way that a connection of this host to `to` would take.
    ///
    /// # Errors
    ///
    /// There is no route, or it ends on this host.
    pub async fn route_to(&self, to: IpAddr) -> Result<SourceRoute, HostError> {
        self.netlink.route_to(to).await
    }

    /// The addresses of all interfaces.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn local_addresses(&self) -> Result<Vec<LocalAddress>, HostError> {
        let _turn = self.listing.lock().await;
        self.netlink.local_addresses().await
    }

    /// The link-layer address of a neighbour, where it is known.
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
