//! Maintains neighbour entries, as the daemon requests.

use std::{collections::BTreeSet, mem, net::IpAddr, time::Instant};

use super::host::Host;
use crate::host::error::HostError;
use crate::host::{
    neighbours::next_hops::{GATEWAY, Unreachable},
    netlink::neighbour::Neighbour,
};

impl Host {
    /// Keeps the next hops of exactly these backends resolved from now on.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel refuses.
    pub async fn keep_neighbours(&mut self, backends: BTreeSet<IpAddr>) -> Result<(), HostError> {
        self.neighbours.backends = backends;
        self.maintain_neighbours().await.map(drop)
    }

    /// Keeps the gateways to these clients resolved, too. Clients on directly connected networks
    /// are not: they come and go, and ask for us before they send. Their existing entries are
    /// confirmed.
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

    /// Confirms entries on these interfaces as soon as they are stale, from now on.
    pub fn confirm_neighbours(&mut self, interfaces: BTreeSet<u32>) {
        self.neighbours.confirming.watch(interfaces);
    }

    /// Returns when to call [`check_neighbours`](Self::check_neighbours), even if nothing changes.
    #[must_use]
    pub fn next_neighbour_check(&self) -> Option<Instant> {
        self.neighbours.confirming.next()
    }

    /// Returns whether that is now, once for each time: a look that fails is repeated when
    /// something changes, or in its turn.
    pub fn take_neighbour_check(&mut self, now: Instant) -> bool {
        self.neighbours.confirming.take_due(now)
    }

    /// Returns how many of our entries somebody removed since the last call. They are restored.
    pub fn restored_neighbours(&mut self) -> usize {
        mem::take(&mut self.neighbours.restored)
    }

    /// Does what [`maintain_neighbours`](Self::maintain_neighbours) does, but without looking up
    /// routes.
    ///
    /// # Errors
    ///
    /// No privilege, or the kernel does not answer.
    pub async fn check_neighbours(&mut self) -> Result<(), HostError> {
        self.neighbours.look(&self.netlink).await.map(drop)
    }

    /// Follows changes of routes, requests the resolution of unresolved next hops, and logs, once
    /// each, which backends cannot be reached and which can again. Call this every few seconds.
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
