//! Services that were added, removed or changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use super::text::{AsText, counted};
use crate::service::{Path, Pool, Server, Service};

/// Servers that are named one by one.
const NAMED: usize = 4;

/// A service that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceChange {
    pub name: Arc<str>,
    pub difference: ServiceDifference,
}

/// How a service differs.
#[derive(Clone, Debug, PartialEq)]
pub enum ServiceDifference {
    Added(Arc<Service>),
    Removed(Arc<Service>),
    Changed { running: Arc<Service>, desired: Arc<Service> },
}

pub(super) fn compare(running: &[Arc<Service>], desired: &[Arc<Service>]) -> Vec<ServiceChange> {
    let before: BTreeMap<_, _> = running.iter().map(|service| (&service.name, service)).collect();
    let after: BTreeMap<_, _> = desired.iter().map(|service| (&service.name, service)).collect();
    let names: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let difference = |name: &Arc<str>| {
        Some(match (before.get(name).copied(), after.get(name).copied()) {
            (Some(running), Some(desired)) if **running == **desired => return None,
            (Some(running), Some(desired)) => {
                let (running, desired) = (running.clone(), desired.clone());
                ServiceDifference::Changed { running, desired }
            }
            (Some(running), None) => ServiceDifference::Removed(running.clone()),
            (None, Some(desired)) => ServiceDifference::Added(desired.clone()),
            (None, None) => return None,
        })
    };
    let changed = names.into_iter().filter_map(|name| {
        let difference = difference(name)?;
        Some(ServiceChange { name: name.clone(), difference })
    });
    changed.collect()
}

impl ServiceChange {
    pub(super) fn sentence(&self, connections: &impl Fn(&Arc<str>, SocketAddr) -> u64) -> String {
        let name = &self.name;
        match &self.difference {
            ServiceDifference::Added(service) => added(service),
            ServiceDifference::Removed(service) => {
                let live: u64 =
                    service.pool.servers.iter().map(|it| connections(name, it.address)).sum();
                format!("{name}: removed{}", fate(live, is_proxied(service)))
            }
            ServiceDifference::Changed { running, desired } => {
                let mut parts = servers(running, desired, connections);
                parts.extend(aspects(running, desired));
                format!("{name}: {}", parts.join("; "))
            }
        }
    }
}

fn added(service: &Service) -> String {
    let servers = counted(service.pool.servers.len(), "backend");
    let ports: Vec<_> = service.ports.iter().map(ToString::to_string).collect();
    let addresses: Vec<_> = service.addresses.iter().map(ToString::to_string).collect();
    format!(
        "{}: added, with {servers} at {}, {} {}",
        service.name,
        addresses.join(", "),
        if ports.len() == 1 { "port" } else { "ports" },
        ports.join(", ")
    )
}

fn is_proxied(service: &Service) -> bool {
    service.ports.iter().all(|port| port.path() == Path::Proxy)
}

/// What becomes of the connections of a service or server that was removed.
fn fate(live: u64, goes_on: bool) -> String {
    let connections = counted(live as usize, "connection");
    match (live, goes_on) {
        (0, _) => String::new(),
        (1, true) => format!(", {connections} goes on until it ends"),
        (_, true) => format!(", {connections} go on until they end"),
        (1, false) => format!(", {connections} ends"),
        (_, false) => format!(", {connections} end"),
    }
}

fn servers(
    running: &Service,
    desired: &Service,
    connections: &impl Fn(&Arc<str>, SocketAddr) -> u64,
) -> Vec<String> {
    let by_address = |pool: &Pool| -> HashMap<SocketAddr, Server> {
        pool.servers.iter().map(|server| (server.address, server.clone())).collect()
    };
    let (before, after) = (by_address(&running.pool), by_address(&desired.pool));
    let mut parts = Vec::new();
    let added: Vec<_> = desired.pool.servers.iter().map(|it| it.address).collect();
    let added: Vec<_> = added.into_iter().filter(|it| !before.contains_key(it)).collect();
    if !added.is_empty() {
        parts.push(format!("{} added ({})", counted(added.len(), "backend"), named(&added)));
    }
    let removed: Vec<_> = running.pool.servers.iter().map(|it| it.address).collect();
    let removed: Vec<_> = removed.into_iter().filter(|it| !after.contains_key(it)).collect();
    if !removed.is_empty() {
        let live = removed.iter().map(|&server| connections(&running.name, server)).sum();
        let servers = counted(removed.len(), "backend");
        parts.push(format!("{servers} removed ({}){}", named(&removed), fate(live, true)));
    }
    let kept = desired.pool.servers.iter();
    let kept = kept.filter_map(|server| Some((before.get(&server.address)?, server)));
    let changed: Vec<_> = kept.filter(|(before, server)| before != server).collect();
    parts.extend(changed.iter().take(NAMED).map(|(before, after)| server(before, after)));
    if let Some(more) = changed.len().checked_sub(NAMED).filter(|&more| more > 0) {
        parts.push(format!("{} changed besides", counted(more, "backend")));
    }
    let order = |pool: &Pool| pool.servers.iter().map(|it| it.address).collect::<Vec<_>>();
    if parts.is_empty() && order(&running.pool) != order(&desired.pool) {
        parts.push("the order of its backends changed".to_owned());
    }
    parts
}

fn named(servers: &[SocketAddr]) -> String {
    let names: Vec<_> = servers.iter().take(NAMED).map(ToString::to_string).collect();
    let names = names.join(", ");
    if servers.len() > NAMED { format!("{names}, …") } else { names }
}

/// How a server of the same address differs.
fn server(before: &Server, after: &Server) -> String {
    let Server { address, weight, drain, region, instance, server_id } = after;
    let mut parts = Vec::new();
    if *weight != before.weight {
        parts.push(format!("weight {weight} instead of {}", before.weight));
    }
    if *drain != before.drain {
        parts.push(if *drain { "drains" } else { "drains no more" }.to_owned());
    }
    if *region != before.region {
        parts.push(format!("region {} instead of {}", region.text(), before.region.text()));
    }
    if *instance != before.instance {
        let (now, then) = (instance.text(), before.instance.text());
        parts.push(format!("instance {now} instead of {then}"));
    }
    if *server_id != before.server_id {
        parts.push("another server_id".to_owned());
    }
    format!("backend {address}: {}", parts.join(", "))
}

/// What else differs, by the names of the keys.
fn aspects(running: &Service, desired: &Service) -> Vec<String> {
    let Service {
        name: _,
        protocol,
        addresses,
        hostnames,
        ports,
        steering,
        private,
        concurrency,
        limits,
        queue,
        pool: Pool { strategy, servers: _, health_check },
    } = desired;
    let mut parts = Vec::new();
    if *protocol != running.protocol {
        parts.push(format!("protocol {protocol} instead of {}", running.protocol));
    }
    if *addresses != running.addresses {
        let (now, then) = (addresses.text(), running.addresses.text());
        parts.push(format!("addresses {now} instead of {then}"));
    }
    if *hostnames != running.hostnames {
        let (now, then) = (hostnames.text(), running.hostnames.text());
        parts.push(format!("hostnames {now} instead of {then}"));
    }
    if *ports != running.ports {
        parts.push(changed_ports(running, desired));
    }
    if *strategy != running.pool.strategy || steering.strategy != running.steering.strategy {
        let (now, then) = (strategy.name(), running.pool.strategy.name());
        parts.push(if now == then {
            format!(
                "strategy {} instead of {}",
                steering.strategy.name(),
                running.steering.strategy.name()
            )
        } else {
            format!("strategy {now} instead of {then}")
        });
    }
    let mut steered = steering.clone();
    steered.strategy = running.steering.strategy;
    let others = [
        (steered != running.steering, "the settings of steered ports"),
        (*private != running.private, "private"),
        (*concurrency != running.concurrency, "concurrency"),
        (*limits != running.limits, "limits"),
        (*queue != running.queue, "queue"),
        (*health_check != running.pool.health_check, "health_check"),
    ];
    let others = others.iter().filter(|(differs, _)| *differs);
    parts.extend(others.map(|(_, what)| format!("{what} changed")));
    parts
}

fn changed_ports(running: &Service, desired: &Service) -> String {
    let numbers = |service: &Service| -> BTreeSet<String> {
        service.ports.iter().map(ToString::to_string).collect()
    };
    let (before, after) = (numbers(running), numbers(desired));
    let (added, removed): (Vec<_>, Vec<_>) =
        (after.difference(&before).collect(), before.difference(&after).collect());
    let ports = |numbers: &[&String]| {
        let numbers: Vec<_> = numbers.iter().map(|number| number.as_str()).collect();
        format!("{} {}", if numbers.len() == 1 { "port" } else { "ports" }, numbers.join(", "))
    };
    match (&added[..], &removed[..]) {
        ([], []) => {
            let stays = |it: &&crate::service::Port| !running.ports.contains(it);
            let changed: Vec<_> =
                desired.ports.iter().filter(stays).map(ToString::to_string).collect();
            format!("{} changed", ports(&changed.iter().collect::<Vec<_>>()))
        }
        (added, []) => format!("{} added", ports(added)),
        ([], removed) => format!("{} removed", ports(removed)),
        (added, removed) => format!("{} added, {} removed", ports(added), ports(removed)),
    }
}
