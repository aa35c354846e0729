//! The flow table as the operator sees it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::selector::{FlowState, Selector, Transport};

/// The JSON of `POST /v1/flows`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowQuery {
    #[serde(flatten)]
    pub selector: Selector,
    /// At most so many, those opened last.
    pub limit: usize,
}

/// Its answer, the flow opened last first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowList {
    pub flows: Vec<FlowStatus>,
    /// How many more there are.
    pub more: u64,
}

/// A flow. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStatus {
    pub protocol: Transport,
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub backend: SocketAddr,
    /// `nat`: what the backend takes for its client.
    pub source: Option<SocketAddr>,
    /// `None`: it is not configured any more.
    pub service: Option<String>,
    pub state: FlowState,
    /// How packets reach the backend: `nat`, `l2`, `ipip` or `gue`.
    pub mode: String,
    pub age_ms: u64,
    /// Since the client's last packet.
    pub client_idle_ms: u64,
    /// Since the backend's last packet. `None`: we have seen none.
    pub backend_idle_ms: Option<u64>,
}
