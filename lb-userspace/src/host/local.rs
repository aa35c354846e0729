//! The host's own addresses.

use std::{collections::BTreeSet, net::IpAddr};

use rtnetlink::packet_route::address::AddressAttribute;

use super::{
    HostError,
    netlink::{Netlink, collect},
};

/// Asks the network namespace of the thread that opened it.
pub struct LocalAddresses(Netlink);

impl LocalAddresses {
    /// To be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// No netlink socket.
    pub fn open() -> Result<Self, HostError> {
        Netlink::open().map(Self)
    }

    /// Those of all interfaces, the loopback interface's among them.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn all(&self) -> Result<BTreeSet<IpAddr>, HostError> {
        let messages = collect(self.0.handle.address().get().execute()).await;
        let messages =
            messages.map_err(|error| HostError::netlink("list the addresses", &error))?;
        let addresses = messages.iter().filter_map(|message| {
            let found = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
                message.attributes.iter().find_map(wanted)
            };
            // On a point-to-point link `Address` is the other end's.
            let local = found(|it| match it {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            local.or_else(|| {
                found(|it| match it {
                    AddressAttribute::Address(address) => Some(*address),
                    _ => None,
                })
            })
        });
        Ok(addresses.collect())
    }
}
