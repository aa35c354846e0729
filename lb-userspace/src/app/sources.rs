//! Which address of ours each steered packet carries: the one that the host's routing would use.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use tracing::{info, warn};

use crate::host::{Host, HostError, turn};

/// The source address towards each server that packets are steered to.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) known: HashMap<IpAddr, IpAddr>,
    /// Changes whenever `known` does.
    pub(super) revision: u64,
    /// The interface towards each, by index.
    pub(super) ways: HashMap<IpAddr, u32>,
    /// Servers without one, and why, as last reported.
    lost: BTreeMap<IpAddr, String>,
    /// The last server that was asked for among those with a source.
    asked: Option<IpAddr>,
}

impl Sources {
    /// Asks the host's routing anew. A server that has no source address is reported once, and
    /// gets no steered flows until it has.
    ///
    /// # Errors
    ///
    /// The kernel does not answer, as opposed to answering that there is no way.
    pub(super) async fn refresh(
        &mut self,
        host: &Host,
        servers: BTreeSet<IpAddr>,
    ) -> Result<(), HostError> {
        let mut fresh = Self { asked: self.asked, ..Self::default() };
        let (due, kept) = turn(servers, |server| self.known.contains_key(server), self.asked);
        for server in kept {
            fresh.known.insert(server, self.known[&server]);
            fresh.ways.extend(self.ways.get(&server).map(|&way| (server, way)));
        }
        fresh.asked = due.last().copied();
        for server in due {
            match host.way_to(server).await {
                Ok(way) => {
                    fresh.known.insert(server, way.source);
                    fresh.ways.insert(server, way.interface);
                }
                Err(error @ (HostError::NoRoute { .. } | HostError::Local { .. })) => {
                    drop(fresh.lost.insert(server, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        for (server, why) in &fresh.lost {
            if self.lost.get(server) != Some(why) {
                warn!(%server, why, "cannot steer to this server");
            }
        }
        for server in self.lost.keys().filter(|server| fresh.known.contains_key(server)) {
            info!(%server, "can steer to this server again");
        }
        fresh.revision = self.revision + u64::from(fresh.known != self.known);
        *self = fresh;
        Ok(())
    }
}
