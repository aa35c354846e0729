//! Upkeep of neighbour entries, as the daemon asks for it.

use std::{collections::BTreeSet, mem, net::IpAddr, time::Instant};

use super::{
    entry::Neighbour,
    next_hops::{GATEWAY, Unreachable},
};
use crate::host::{error::HostError, network::Host};

impl Host {
    /// From now on the next hops towards exactly these backends are kept resolved.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel refuses.
    pub async fn keep_neighbours(&mut self, backends: BTreeSet<IpAddr>) -> Result<(), HostError> {
        self.neighbours.backends = backends;
        self.maintain_neighbours().await.map(drop)
    }

    /// The gateways to these clients are kept resolved, too. Clients on a network of ours are not:
    /// they come and go, and ask for us before they send. Where they are known, that is confirmed.
    ///
    /// # Errors
    ///
    /// The kernel does not answer.
    pub async fn find_gateways(&mut self, clients: &[IpAddr]) -> Result<(), HostError> {
        let now = Instant::now();
        let known = mem::take(&mut self.neighbours.gateways).into_values();
        let known = known.filter(|(_, seen)| now.duration_since(*seen) < GATEWAY);
        self.neighbours.near.clear();
        for (client, seen) in known.chain(clients.iter().map(|&client| (client, now))) {
            match self.netlink.route_to(client).await {
                Ok(way) if way.next_hop != client => {
                    let hop = Neighbour { interface: way.interface, address: way.next_hop };
                    self.neighbours.gateways.insert(hop, (client, seen));
                }
                Ok(way) => {
                    let hop = Neighbour { interface: way.interface, address: client };
                    self.neighbours.near.insert(hop);
                }
                Err(HostError::NoRoute { .. } | HostError::Local { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// From now on entries of neighbours on these interfaces are confirmed as soon as they are
    /// stale.
    pub fn confirm_neighbours(&mut self, interfaces: BTreeSet<u32>) {
        self.neighbours.confirming.watch(interfaces);
    }

    /// When [`look_at_neighbours`](Self::check_neighbours) is to be called, whatever changes.
    #[must_use]
    pub fn next_neighbour_check(&self) -> Option<Instant> {
        self.neighbours.confirming.next()
    }

    /// How many entries of ours somebody removed since the last call. They are there again.
    pub fn restored_neighbours(&mut self) -> usize {
        mem::take(&mut self.neighbours.restored)
    }

    /// What [`tend`](Self::maintain_neighbours) does without asking for routes.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel does not answer.
    pub async fn check_neighbours(&mut self) -> Result<(), HostError> {
        self.neighbours.look(&self.netlink).await.map(drop)
    }

    /// To be called every few seconds: follows changes of routes, resolves what is not resolved,
    /// and says in the log, once each, which backends cannot be reached and which can again.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel does not answer.
    pub async fn maintain_neighbours(&mut self) -> Result<Vec<Unreachable>, HostError> {
        let mut unreachable = self.neighbours.follow_routes(&self.netlink).await?;
        unreachable.extend(self.neighbours.look(&self.netlink).await?);
        Ok(unreachable)
    }
}
