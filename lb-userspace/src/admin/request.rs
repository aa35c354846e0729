//! What the operator may ask of the running daemon.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{
    explain::{Explanation, PacketQuery, TraceLine, TraceQuery},
    flows::{FlowList, FlowQuery},
};

/// The JSON of `PUT /v1/drain`: a server of a service takes nothing new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRequest {
    pub service: String,
    pub server: SocketAddr,
    /// How long what it has may go on. `None`: the service's `drain_deadline`.
    pub deadline_ms: Option<u64>,
    /// It takes new flows again.
    #[serde(default)]
    pub undo: bool,
}

impl DrainRequest {
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline_ms.map(Duration::from_millis)
    }
}

/// What the operator should know of an order that was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainReply {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What is asked for, and who waits for it. An error is one of the operator's, in words.
pub struct Envelope<Q, A> {
    pub request: Q,
    pub reply: oneshot::Sender<Result<A, String>>,
}

/// What the event loop is to do.
pub enum AdminRequest {
    Drain(Envelope<DrainRequest, DrainReply>),
    Flows(Envelope<FlowQuery, FlowList>),
    Explain(Envelope<PacketQuery, Explanation>),
    /// JsonLines come until the receiver is dropped.
    Trace(Envelope<TraceQuery, mpsc::Receiver<TraceLine>>),
}

/// Where orders go.
pub type RequestSender = mpsc::Sender<AdminRequest>;
