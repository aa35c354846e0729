//! Reads the host's interfaces, addresses and routes.

use std::net::IpAddr;

use super::host::Host;
use crate::host::{
    error::HostError,
    netlink::{
        addresses::LocalAddress,
        interfaces::{Interface, unknown},
        source_route::SourceRoute,
    },
};

impl Host {
    /// Returns all interfaces, ordered by index.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, HostError> {
        self.netlink.interfaces().await
    }

    /// Returns the interface of each name, in the given order.
    ///
    /// # Errors
    ///
    /// An interface does not exist; the message lists those that do.
    pub async fn find_interfaces(
        &self,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Vec<Interface>, HostError> {
        let all = self.interfaces().await?;
        let find = |name: &str| {
            let found = all.iter().find(|interface| interface.name == name);
            found.cloned().ok_or_else(|| unknown(name, &all))
        };
        names.into_iter().map(|name| find(name.as_ref())).collect()
    }

    /// Returns the addresses of all interfaces, the loopback interface included.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn local_addresses(&self) -> Result<Vec<LocalAddress>, HostError> {
        self.netlink.local_addresses().await
    }

    /// Returns the route of a connection from this host to `to`.
    ///
    /// # Errors
    ///
    /// There is no route, or it ends on this host.
    pub async fn route_to(&self, to: IpAddr) -> Result<SourceRoute, HostError> {
        self.netlink.route_to(to).await
    }

    /// Returns the source address of steered packets to this backend.
    ///
    /// # Errors
    ///
    /// As for [`route_to`](Self::route_to).
    pub async fn source_towards(&self, backend: IpAddr) -> Result<IpAddr, HostError> {
        Ok(self.route_to(backend).await?.source)
    }
}
