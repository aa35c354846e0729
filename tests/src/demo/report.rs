//! What came of the demo, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::traffic::Tally;
use crate::daemon::status::{self, Status};

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub services: Vec<Service>,
    #[serde(skip)]
    end: Status,
}

/// Requests and failures as the clients counted them; connections as lb did.
#[derive(Clone, Debug, Serialize)]
pub struct Service {
    pub name: String,
    pub path: String,
    pub requests: u64,
    pub failed: u64,
    pub backends: Vec<Backend>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Backend {
    pub address: String,
    pub connections: u64,
    /// Live while connections were held open.
    #[serde(skip)]
    held: u64,
    #[serde(skip)]
    live: u64,
}

impl Report {
    #[must_use]
    pub fn new(tally: Tally, held: &Status, end: Status) -> Self {
        let services = end
            .services
            .iter()
            .map(|service| {
                let count = tally.0.get(service.name.as_str()).copied().unwrap_or_default();
                Service {
                    name: service.name.clone(),
                    path: service.path.clone(),
                    requests: count.requests,
                    failed: count.failed,
                    backends: backends(service, held.service(&service.name)),
                }
            })
            .collect();
        Self { services, end }
    }

    /// Whether every request was answered as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.services.iter().all(|service| service.requests > 0 && service.failed == 0)
    }
}

fn backends(end: &status::Service, held: Option<&status::Service>) -> Vec<Backend> {
    let held_at = |address: &str| {
        let backends = held.into_iter().flat_map(|service| &service.backends);
        backends.filter(|backend| backend.address == address).map(|backend| backend.live).sum()
    };
    end.backends
        .iter()
        .map(|backend| Backend {
            address: backend.address.clone(),
            connections: backend.connections,
            held: held_at(&backend.address),
            live: backend.live,
        })
        .collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for service in &self.services {
            let Service { name, path, requests, failed, .. } = service;
            let seen_by = match path.as_str() {
                "steer" => "connections seen by XDP",
                _ => "connections of the proxy",
            };
            writeln!(f, "\n{name} ({path}): {requests} requests, {failed} failed")?;
            writeln!(
                f,
                "  {:<24} {seen_by:>24} {:>12} {:>8}",
                "backend", "live, held", "live now"
            )?;
            for Backend { address, connections, held, live } in &service.backends {
                writeln!(f, "  {address:<24} {connections:>24} {held:>12} {live:>8}")?;
            }
        }
        let verdicts = &self.end.verdicts;
        writeln!(
            f,
            "\npackets in XDP: {} steered, {} to the proxy, {} passed, {} echoes answered",
            verdicts.steer, verdicts.proxy, verdicts.pass, verdicts.reply
        )?;
        for drop in self.end.drops.iter().filter(|drop| drop.packets > 0) {
            writeln!(f, "dropped: {} ({})", drop.packets, drop.reason)?;
        }
        Ok(())
    }
}
