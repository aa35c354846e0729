//! Which address of ours each steered packet carries: the one that the host's routing would use.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use tracing::{info, warn};

use crate::host::{Host, HostError};

/// The source address towards each server that packets are steered to.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) known: HashMap<IpAddr, IpAddr>,
    /// Changes whenever `known` does.
    pub(super) revision: u64,
    /// Servers without one, and why, as last reported.
    lost: BTreeMap<IpAddr, String>,
    /// The last server that was asked for among those with a source.
    asked: Option<IpAddr>,
}

/// Servers with a source that are asked for at a time: routing answers in ten or twenty
/// microseconds. Of more, each refresh looks at the next ones.
const AT_ONCE: usize = 2048;

impl Sources {
    /// Those to ask for, and those whose source stays as it is known. Who has none is always asked
    /// for.
    fn part(&self, servers: BTreeSet<IpAddr>) -> (Vec<IpAddr>, Vec<IpAddr>) {
        let (known, unknown): (Vec<_>, Vec<_>) =
            servers.into_iter().partition(|server| self.known.contains_key(server));
        let first = known.partition_point(|server| Some(*server) <= self.asked);
        let mut kept = known;
        kept.rotate_left(first);
        let later = kept.split_off(kept.len().min(AT_ONCE));
        let due = unknown.into_iter().chain(kept).collect();
        (due, later)
    }

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
        let (due, kept) = self.part(servers);
        for server in kept {
            fresh.known.insert(server, self.known[&server]);
        }
        fresh.asked = due.last().copied();
        for server in due {
            match host.source_towards(server).await {
                Ok(source) => drop(fresh.known.insert(server, source)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn of_many_servers_each_has_its_turn_and_the_unknown_always() {
        let count = 2 * AT_ONCE as u32 + 10;
        let servers: BTreeSet<_> = (0..count).map(server).collect();
        let known = (1..count).map(|n| (server(n), server(0)));
        let mut sources = Sources { known: known.collect(), ..Sources::default() };
        let mut asked = BTreeSet::new();
        for _ in 0..3 {
            let (due, kept) = sources.part(servers.clone());
            assert_eq!(due[0], server(0), "unknown");
            assert_eq!((due.len(), due.len() + kept.len()), (AT_ONCE + 1, servers.len()));
            sources.asked = due.last().copied();
            asked.extend(due);
        }
        assert_eq!(asked, servers);
    }

    #[test]
    fn of_few_servers_all_are_asked_for() {
        let known = (0..5).map(|n| (server(n), server(0))).collect();
        let sources = Sources { known, asked: Some(server(2)), ..Sources::default() };
        let (due, kept) = sources.part((0..5).map(server).collect());
        assert_eq!((due.len(), kept.len()), (5, 0));
    }
}
