//! What `lb status --json` prints.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    #[serde(default)]
    pub draining_processes: Vec<u32>,
    pub version: String,
    pub interfaces: Vec<Interface>,
    pub services: Vec<Service>,
    pub drops: Vec<Drop>,
    pub verdicts: Verdicts,
    pub flows: Flows,
    pub handshakes: Handshakes,
    pub lacks: Vec<Lack>,
    pub warnings: Vec<String>,
    pub repaired: Vec<Repaired>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Lack {
    pub undone: String,
    pub count: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Repaired {
    pub what: String,
    pub count: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Interface {
    pub name: String,
    pub mode: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    pub name: String,
    /// `steer` or `proxy`.
    pub path: String,
    /// Numbers and ranges.
    pub ports: Vec<String>,
    pub requests: u64,
    pub failed: u64,
    pub no_source_port: u64,
    #[serde(default)]
    pub removed: bool,
    pub backends: Vec<Backend>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Backend {
    pub address: String,
    pub up: bool,
    pub draining: bool,
    /// It is not configured any more.
    #[serde(default)]
    pub removed: bool,
    /// ms until the end of what a draining one still has.
    #[serde(default)]
    pub drain_remaining_ms: Option<u64>,
    pub weight: u16,
    pub live: u64,
    #[serde(default)]
    pub unanswered: Option<u64>,
    /// Or requests, of services that speak HTTP.
    #[serde(rename = "taken")]
    pub connections: u64,
    #[serde(default)]
    pub source_ports: Option<SourcePorts>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct SourcePorts {
    pub used: u64,
    pub room: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Drop {
    pub reason: String,
    pub packets: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Verdicts {
    pub pass: u64,
    pub proxy: u64,
    pub steer: u64,
    pub reply: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Flows {
    pub live: u64,
    pub max: u64,
    pub evicted: u64,
    pub evicted_half_open: u64,
    pub crowded: u64,
    pub rerouted: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Handshakes {
    pub completed: u64,
    pub failed: Vec<FailedHandshakes>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct FailedHandshakes {
    pub kind: String,
    pub count: u64,
}

impl Status {
    /// How often something of this kind was put right.
    #[must_use]
    pub fn repaired(&self, what: &str) -> u64 {
        let found = self.repaired.iter().find(|repaired| repaired.what == what);
        found.map_or(0, |repaired| repaired.count)
    }

    /// TLS handshakes that failed in this way.
    #[must_use]
    pub fn failed_handshakes(&self, kind: &str) -> Option<u64> {
        let mut failed = self.handshakes.failed.iter();
        failed.find(|failed| failed.kind == kind).map(|failed| failed.count)
    }

    /// How often that could not be done for a lack of the host's own.
    #[must_use]
    pub fn undone(&self, what: &str) -> u64 {
        let lacks = self.lacks.iter().filter(|lack| lack.undone == what);
        lacks.map(|lack| lack.count).sum()
    }

    /// The service `name`, when it is there.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// Live connections of all backends.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.services.iter().map(Service::live).sum()
    }

    /// Live connections of the services on `path`.
    #[must_use]
    pub fn live_on(&self, path: &str) -> u64 {
        let services = self.services.iter().filter(|service| service.path == path);
        services.map(Service::live).sum()
    }

    /// Packets dropped for `reason`, by the name that status gives it.
    #[must_use]
    pub fn dropped(&self, reason: &str) -> u64 {
        let drops = self.drops.iter().filter(|drop| drop.reason == reason);
        drops.map(|drop| drop.packets).sum()
    }

    /// Packets dropped for any reason.
    #[must_use]
    pub fn dropped_in_all(&self) -> u64 {
        self.drops.iter().map(|drop| drop.packets).sum()
    }
}

impl Service {
    /// Live connections of its backends.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.backends.iter().map(|backend| backend.live).sum()
    }

    /// What it opened to all its backends.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.backends.iter().map(|backend| backend.connections).sum()
    }
}
