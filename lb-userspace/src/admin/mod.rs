//! The daemon's door: status over a unix socket.

pub mod client;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What the daemon says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub uptime_seconds: u64,
    pub interfaces: Vec<InterfaceStatus>,
    pub services: Vec<ServiceStatus>,
    pub drops: Vec<Drops>,
    pub verdicts: Verdicts,
    pub flows: Flows,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    pub name: String,
    pub mode: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: String,
    /// `steer` or `proxy`.
    pub path: String,
    pub protocol: String,
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<u16>,
    pub requests: u64,
    pub failed: u64,
    pub backends: Vec<BackendStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    pub address: SocketAddr,
    pub up: bool,
    pub weight: u16,
    pub live: u64,
    pub connections: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drops {
    pub reason: String,
    pub packets: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    pub pass: u64,
    pub proxy: u64,
    pub steer: u64,
    pub reply: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    pub live: u64,
    pub max: u64,
}
