//! Orders for servers: beside what is configured, whoever owns it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The server of a service that an order is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct OrderTarget {
    pub service: String,
    /// Its address and port, as `lb status` shows it.
    #[schema(value_type = String)]
    pub server: SocketAddr,
}

/// What is to be different for a server while the order stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Order {
    #[serde(flatten)]
    pub target: OrderTarget,
    /// In place of the configured one. 0: nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// It gets nothing new; what it has goes on.
    #[serde(default)]
    pub drain: bool,
    /// When it ends by itself, in milliseconds of Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// An order is given, or taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderChange {
    Give(Order),
    TakeBack(OrderTarget),
}

impl OrderChange {
    #[must_use]
    pub fn target(&self) -> &OrderTarget {
        match self {
            Self::Give(order) => &order.target,
            Self::TakeBack(target) => target,
        }
    }
}

impl std::fmt::Display for OrderTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.server, self.service)
    }
}
