//! What the operator may ask of the running daemon.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// The JSON of `PUT /v1/drain`: a server of a service takes nothing new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    pub service: String,
    pub server: SocketAddr,
    /// How long what it has may go on. `None`: the service's `drain_deadline`.
    pub deadline_ms: Option<u64>,
    /// It takes new flows again.
    #[serde(default)]
    pub undo: bool,
}

impl Drain {
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline_ms.map(Duration::from_millis)
    }
}

/// An order, and who waits for its end. An error is one of the operator's, in words.
pub struct Order {
    pub drain: Drain,
    pub done: oneshot::Sender<Result<(), String>>,
}

/// Where orders go.
pub type Orders = mpsc::Sender<Order>;
