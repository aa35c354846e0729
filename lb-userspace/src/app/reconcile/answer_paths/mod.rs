//! Checks whether the answers of servers come in where the kernel program sees them.
//!
//! With `nat` they must: an answer that comes in by another interface goes to the host's own stack,
//! which does not know the connection and resets it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use tokio::runtime;
use tracing::{info, warn};

use crate::{
    datapath::ServerAnswers,
    fleet::{Backend, Fleet, RunningService},
    host::{HostError, HostReader, Interface, passes},
    service::{Forwarding, Protocol, Service},
    settings::Config,
};

/// What is wrong with servers now, for `lb status` and `lb explain`.
pub(crate) type ServerProblems = Arc<ArcSwap<BTreeMap<IpAddr, Arc<str>>>>;

/// Watches where answers come in, and logs what changes.
#[derive(Default)]
pub(crate) struct AnswerPaths {
    pub(crate) problems: ServerProblems,
    /// Servers whose answers come in elsewhere, according to the routes.
    elsewhere: BTreeMap<IpAddr, Arc<str>>,
}

impl AnswerPaths {
    /// Updates the routes: `ways` returns the interface towards each server.
    pub(crate) fn follow_routes(
        &mut self,
        fleet: &Fleet,
        ways: impl Fn(IpAddr) -> Option<u32>,
        interfaces: &[Interface],
        is_watched: &dyn Fn(&Interface) -> bool,
    ) {
        let servers = servers(fleet.services.iter().map(|running| &*running.service));
        let ways = servers.into_iter().filter_map(|server| Some((server, ways(server)?)));
        self.elsewhere.clear();
        for (name, servers) in elsewhere(ways, interfaces, is_watched) {
            let words: Arc<str> = elsewhere_warning(&name, &servers).into();
            self.elsewhere.extend(servers.into_iter().map(|server| (server, words.clone())));
        }
    }

    /// Updates what the flows have seen, and logs what is new.
    pub(crate) fn follow_flows(
        &mut self,
        fleet: &Fleet,
        heard: impl Fn(&Backend) -> ServerAnswers,
    ) {
        let mut now = self.elsewhere.clone();
        for (running, backend) in nat_backends(fleet) {
            let ServerAnswers { answered, unanswered } = heard(backend);
            if answered == 0 && unanswered > 0 && backend.is_up() {
                let server = backend.server.address;
                let is_checked = running.service.pool.health_check.is_some();
                now.entry(server.ip())
                    .or_insert_with(|| unanswered_warning(server, is_checked).into());
            }
        }
        let before = self.problems.load();
        let said: BTreeSet<_> = before.values().collect();
        for text in now.values().filter(|text| !said.contains(text)).collect::<BTreeSet<_>>() {
            warn!("{text}");
        }
        for server in before.keys().filter(|server| !now.contains_key(server)) {
            info!(%server, "answers of this server are seen again");
        }
        if **before != now {
            self.problems.store(Arc::new(now));
        }
    }
}

/// Does the same for a configuration that does not run. If the host has none of its interfaces it
/// is for another host, and the list is empty.
#[must_use]
pub fn missed_answers(config: &Config) -> Vec<String> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let looked = runtime.map(|runtime| runtime.block_on(look(config)));
    looked.ok().and_then(Result::ok).unwrap_or_default()
}

async fn look(config: &Config) -> Result<Vec<String>, HostError> {
    let here = HostReader::open()?;
    let interfaces = here.interfaces().await?;
    let is_watched = |interface: &Interface| {
        config.node.interfaces.iter().any(|pattern| pattern.matches(&interface.name))
    };
    if !interfaces.iter().any(is_watched) {
        return Ok(Vec::new());
    }
    let mut ways = Vec::new();
    for server in servers(config.services.iter().map(|service| &**service)) {
        match here.route_to(server).await {
            Ok(way) => ways.push((server, way.interface)),
            Err(HostError::NoRoute { .. } | HostError::Local { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let missed = elsewhere(ways.into_iter(), &interfaces, &is_watched);
    Ok(missed.iter().map(|(name, servers)| elsewhere_warning(name, servers)).collect())
}

/// Returns the servers whose answers must come in by a watched interface.
fn servers<'a>(services: impl Iterator<Item = &'a Service>) -> BTreeSet<IpAddr> {
    let services = services.filter(|service| is_nat(service));
    services.flat_map(|service| &service.pool.servers).map(|server| server.address.ip()).collect()
}

pub(crate) fn is_nat(service: &Service) -> bool {
    service.is_steered() && service.steering.forwarding == Forwarding::Nat
}

fn nat_backends(fleet: &Fleet) -> impl Iterator<Item = (&RunningService, &Backend)> {
    let services = fleet.services.iter().map(Arc::as_ref);
    let services = services
        .filter(|running| is_nat(&running.service) && running.service.protocol == Protocol::Tcp);
    services.flat_map(|running| running.backends.iter().map(move |backend| (running, &**backend)))
}

/// Returns the servers that the program sees nothing of, by the name of the interface.
fn elsewhere(
    ways: impl Iterator<Item = (IpAddr, u32)>,
    interfaces: &[Interface],
    is_watched: &dyn Fn(&Interface) -> bool,
) -> BTreeMap<String, Vec<IpAddr>> {
    let mut missed: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for (server, index) in ways.filter(|(_, index)| !passes(interfaces, *index, is_watched)) {
        let interface = interfaces.iter().find(|interface| interface.index == index);
        let name = interface.map_or_else(|| format!("#{index}"), |it| it.name.clone());
        missed.entry(name).or_default().push(server);
    }
    missed
}

fn elsewhere_warning(interface: &str, servers: &[IpAddr]) -> String {
    let first = servers[0];
    let others = match servers.len() - 1 {
        0 => String::new(),
        count => format!(" and of {count} more"),
    };
    format!(
        "answers of server {first}{others} come in by `{interface}` (`ip route get {first}`), where \
         lb sees nothing: with `forwarding = \"nat\"` no client gets them; add \"{interface}\" to \
         [node] interfaces"
    )
}

fn unanswered_warning(server: SocketAddr, is_checked: bool) -> String {
    let but = if is_checked { ", though its checks succeed" } else { "" };
    format!(
        "server {server} has answered no connection that was steered to it{but}: it does not get \
         them, or its answers come in by an interface that is not in [node] interfaces, or return \
         by another way (`tcpdump host {}` on each interface shows it)",
        server.ip()
    )
}

#[cfg(test)]
mod tests;
