//! What the operator may request of the running daemon.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use super::{
    explain::{Explanation, PacketQuery, TraceLine, TraceQuery},
    flows::{FlowList, FlowQuery},
};
use crate::objects::{ChangeRefusal, Operation, OrderChange};

/// The JSON of `PUT /v1/drain`: a server of a service is to take nothing new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainRequest {
    pub service: String,
    #[schema(value_type = String)]
    pub server: SocketAddr,
    /// How long its connections may go on. `None`: the service's `drain_deadline`.
    pub deadline_ms: Option<u64>,
    /// The server takes new flows again.
    #[serde(default)]
    pub undo: bool,
}

impl DrainRequest {
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline_ms.map(Duration::from_millis)
    }
}

/// What the operator should know of a request that was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainReply {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// The JSON of `POST /v1/reload`: the configuration file is to be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadRequest {
    /// The file. `None`: the one that the daemon runs with.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub file: Option<PathBuf>,
    /// Say only what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a reload changed, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadReply {
    /// A sentence for each service and setting that changes. Empty: nothing does.
    pub changes: Vec<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The JSON of `POST /v1/upgrade`: a new process is to take the daemon's place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpgradeRequest {
    /// The program. `None`: what lies where the daemon's own was started from.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub binary: Option<PathBuf>,
}

/// An upgrade that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpgradeReply {
    /// The process that serves now.
    pub pid: u32,
}

/// Objects are to be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeRequest {
    pub operations: Vec<Operation>,
    pub orders: Vec<OrderChange>,
    /// Say only what would change.
    pub dry_run: bool,
    /// Who asks, for the log.
    pub by: String,
}

/// What a change of objects did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeReply {
    pub revision: u64,
    /// As of [`ReloadReply`].
    pub changes: Vec<String>,
    pub warnings: Vec<String>,
    /// The revision of each operation's object. `None`: it is gone.
    pub revisions: Vec<Option<u64>>,
}

/// A [`ChangeRequest`] and the way for its answer.
pub struct ChangeEnvelope {
    pub request: ChangeRequest,
    pub reply: oneshot::Sender<Result<ChangeReply, ChangeRefusal>>,
}

/// A request and the way for its answer. An error is for the operator, in words.
pub struct Envelope<Q, A> {
    pub request: Q,
    pub reply: oneshot::Sender<Result<A, String>>,
}

/// A request to the event loop.
pub enum AdminRequest {
    Change(ChangeEnvelope),
    Reload(Envelope<ReloadRequest, ReloadReply>),
    Upgrade(Envelope<UpgradeRequest, UpgradeReply>),
    Drain(Envelope<DrainRequest, DrainReply>),
    Flows(Envelope<FlowQuery, FlowList>),
    Explain(Envelope<PacketQuery, Explanation>),
    /// Lines come until the receiver is dropped.
    Trace(Envelope<TraceQuery, mpsc::Receiver<TraceLine>>),
}

/// Sends requests to the event loop.
pub type RequestSender = mpsc::Sender<AdminRequest>;
