//! The JSON of `lb flows`: the flow table.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::selector::{FlowState, Selector, Transport};

/// The JSON of `POST /v1/flows`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowQuery {
    #[serde(flatten)]
    pub selector: Selector,
    /// The most flows to return; those opened last are kept.
    pub limit: usize,
}

/// The answer to a [`FlowQuery`], the flow opened last first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowList {
    pub flows: Vec<FlowStatus>,
    /// How many more flows match.
    pub more: u64,
}

/// A flow. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowStatus {
    pub protocol: Transport,
    #[schema(value_type = String)]
    pub client: SocketAddr,
    #[schema(value_type = String)]
    pub vip: SocketAddr,
    #[schema(value_type = String)]
    pub backend: SocketAddr,
    /// `nat`: the client address that the backend sees.
    #[schema(value_type = Option<String>)]
    pub source: Option<SocketAddr>,
    /// `None`: it is no longer configured.
    pub service: Option<String>,
    pub state: FlowState,
    /// How packets reach the backend: `nat`, `l2`, `ipip` or `gue`.
    pub mode: String,
    pub age_ms: u64,
    /// Since the client's last packet.
    pub client_idle_ms: u64,
    /// Since the backend's last packet. `None`: none was seen.
    pub backend_idle_ms: Option<u64>,
}
