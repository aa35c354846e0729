//! Chooses the source address of steered packets: the one that the host's routing would use, or in
//! turn those of `source_addresses`.

mod pool;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use arc_swap::ArcSwap;
use tracing::{info, warn};

use self::pool::SourcePool;
use crate::{
    host::{Host, HostError, LocalAddress, SourceRoute, next_batch},
    settings::{Node, SourceAddresses},
    tables::Source,
};

/// By server.
pub(crate) type Room = Arc<ArcSwap<HashMap<IpAddr, u32>>>;

/// The source addresses towards each server that packets are steered to.
pub(crate) struct Sources {
    wanted: SourceAddresses,
    /// Source ports of each address.
    ports: u32,
    /// Announced addresses, which are never a source.
    announced: BTreeSet<IpAddr>,
    pub(crate) known: HashMap<IpAddr, Source>,
    /// How many flows one port of each server can have, for `lb status`.
    pub(crate) shown: Room,
    /// Changes whenever `known` does.
    pub(crate) revision: u64,
    pub(crate) pool: SourcePool,
    /// The routes that the host uses.
    pub(crate) ways: HashMap<IpAddr, SourceRoute>,
    /// Servers without a source, and why, as last reported.
    lost: BTreeMap<IpAddr, String>,
    /// Configured addresses that the host does not have, as last reported.
    missing: BTreeSet<IpAddr>,
    /// The last server with a source that was asked for.
    asked: Option<IpAddr>,
}

impl Sources {
    pub(crate) fn new(node: &Node, announced: BTreeSet<IpAddr>) -> Self {
        Self {
            wanted: node.source_addresses.clone(),
            ports: node.port_count(),
            announced,
            known: HashMap::new(),
            shown: Room::default(),
            revision: 0,
            pool: SourcePool::default(),
            ways: HashMap::new(),
            lost: BTreeMap::new(),
            missing: BTreeSet::new(),
            asked: None,
        }
    }

    /// Goes by another configuration from the next [`refresh`](Self::refresh) on.
    pub(crate) fn configure(&mut self, node: &Node, announced: BTreeSet<IpAddr>) {
        self.wanted = node.source_addresses.clone();
        self.ports = node.port_count();
        self.announced = announced;
    }

    /// Asks the host's routing again. A server without a source address is reported once, and gets
    /// no steered flows until it has one.
    ///
    /// # Errors
    ///
    /// The kernel does not answer. (An answer that there is no route is no error.)
    pub(crate) async fn refresh(
        &mut self,
        host: &Host,
        servers: BTreeSet<IpAddr>,
    ) -> Result<(), HostError> {
        let (due, kept) = next_batch(servers, |server| self.ways.contains_key(server), self.asked);
        let mut ways: BTreeMap<_, _> =
            kept.into_iter().map(|server| (server, self.ways[&server])).collect();
        let mut lost = BTreeMap::new();
        let asked = due.last().copied();
        for server in due {
            match host.route_to(server).await {
                Ok(way) => drop(ways.insert(server, way)),
                Err(error @ (HostError::NoRoute { .. } | HostError::Local { .. })) => {
                    drop(lost.insert(server, error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        let locals = match self.wanted {
            SourceAddresses::Routing => Vec::new(),
            _ => host.local_addresses().await?,
        };
        self.report_missing(&locals);
        let mut known = HashMap::new();
        for (&server, way) in &ways {
            match self.choose(server, way, &locals) {
                Some(source) => drop(known.insert(server, source)),
                None => drop(lost.insert(server, NONE_HERE.to_owned())),
            }
        }
        self.report_lost(&lost, &known);
        if known != self.known {
            self.revision += 1;
            let room = known.iter().map(|(&server, source)| (server, source.ends));
            self.shown.store(Arc::new(room.collect()));
        }
        self.ways = ways.into_iter().collect();
        (self.known, self.lost, self.asked) = (known, lost, asked);
        Ok(())
    }

    /// Chooses the source towards a server. `None`: the host has none of the configured addresses
    /// now.
    fn choose(
        &mut self,
        server: IpAddr,
        way: &SourceRoute,
        locals: &[LocalAddress],
    ) -> Option<Source> {
        let mut several = match &self.wanted {
            SourceAddresses::Routing => vec![way.source],
            SourceAddresses::Interface => neighbours(way, locals, &self.announced),
            SourceAddresses::These(wanted) => {
                let mut wanted = wanted.iter().filter(|it| it.is_ipv4() == server.is_ipv4());
                let here = |it: &&IpAddr| locals.iter().any(|local| local.address == **it);
                match wanted.clone().next() {
                    None => vec![way.source],
                    Some(_) => wanted.by_ref().filter(here).copied().collect(),
                }
            }
        };
        several.truncate(pool::MOST);
        let (&address, count) = (several.first()?, several.len() as u32);
        let pool = if count > 1 { self.pool.place(&several) } else { Some(0) };
        // If the pool is full, all flows share one address.
        let count = if pool.is_some() { count } else { 1 };
        let (pool, ends) = (pool.unwrap_or(0), count * self.ports);
        Some(Source { address, pool, count, ends })
    }

    fn report_missing(&mut self, locals: &[LocalAddress]) {
        let missing = missing(&self.wanted, locals);
        for address in missing.difference(&self.missing) {
            warn!(%address, "this host does not have an address of `source_addresses`: it is left out");
        }
        for address in self.missing.difference(&missing) {
            info!(%address, "this host has the address of `source_addresses` now");
        }
        self.missing = missing;
    }

    fn report_lost(&self, lost: &BTreeMap<IpAddr, String>, known: &HashMap<IpAddr, Source>) {
        for (server, why) in lost {
            if self.lost.get(server) != Some(why) {
                warn!(%server, why, "cannot steer to this server");
            }
        }
        for server in self.lost.keys().filter(|server| known.contains_key(server)) {
            info!(%server, "can steer to this server again");
        }
    }
}

/// Returns the configured addresses that are on no interface.
fn missing(wanted: &SourceAddresses, locals: &[LocalAddress]) -> BTreeSet<IpAddr> {
    let SourceAddresses::These(wanted) = wanted else { return BTreeSet::new() };
    let is_here = |it: &&IpAddr| locals.iter().any(|local| local.address == **it);
    wanted.iter().filter(|it| !is_here(it)).copied().collect()
}

/// Returns a warning for each address of `source_addresses` that the host does not have.
pub(crate) fn warnings(wanted: &SourceAddresses, locals: &[LocalAddress]) -> Vec<String> {
    let missing = missing(wanted, locals);
    let SourceAddresses::These(wanted) = wanted else { return Vec::new() };
    let words = missing.iter().map(|address| {
        let (v4, family) = if address.is_ipv4() { (true, "IPv4") } else { (false, "IPv6") };
        let is_last = wanted.iter().all(|it| it.is_ipv4() != v4 || missing.contains(it));
        let so = match is_last {
            true => format!("nothing is steered to {family} servers of `nat` services"),
            false => "it is left out".to_owned(),
        };
        format!(
            "`source_addresses` in [node] names {address}, which this host has on no interface: \
             {so}, until it is there (`ip address add {address}/PREFIX dev IF`)"
        )
    });
    words.collect()
}

const NONE_HERE: &str = "this host has none of the `source_addresses` of its family";

/// Returns the addresses on the interface that the route leaves by. If the address that routing
/// would use is not among them, somebody set it in the route: then it is used alone.
fn neighbours(
    way: &SourceRoute,
    locals: &[LocalAddress],
    announced: &BTreeSet<IpAddr>,
) -> Vec<IpAddr> {
    let there = locals.iter().filter(|local| {
        local.interface == way.interface
            && local.may_share
            && local.address.is_ipv4() == way.source.is_ipv4()
            && !announced.contains(&local.address)
    });
    let there: BTreeSet<_> = there.map(|local| local.address).collect();
    if there.contains(&way.source) { there.into_iter().collect() } else { vec![way.source] }
}

#[cfg(test)]
mod tests;
