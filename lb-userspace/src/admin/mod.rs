//! The admin socket: how `lb status` and other commands ask the daemon.

mod access;
pub mod client;
mod error;
mod explain;
mod flows;
mod handover;
mod listener;
mod lock_file;
mod problem;
mod request;
mod selector;
mod server;
mod socket_path;
mod status;
#[cfg(test)]
mod tests;

pub use access::{AccessError, SocketAccess};
pub use error::AdminError;
pub use explain::{
    DecisionStatus, Explanation, FlowKnown, OutgoingPacket, PacketQuery, TraceLine, TraceQuery,
};
pub use flows::{FlowList, FlowQuery, FlowStatus};
pub use handover::AdminHandover;
pub use listener::AdminListener;
pub use problem::{Problem, ViolationBody};
pub use request::{
    AdminRequest, ChangeEnvelope, ChangeReply, ChangeRequest, DrainReply, DrainRequest, Envelope,
    ReloadReply, ReloadRequest, RequestSender, UpgradeReply, UpgradeRequest,
};
pub use selector::{Endpoint, FlowState, FlowTraits, Network, Selector, Transport};
pub use server::{
    ApiThread, Changed, Context, Event, EventFeed, ObjectList, OrderBody, OrderList, StatusSource,
};
pub use status::{
    BackendStatus, CertificateStatus, Drops, FailedHandshakes, Flows, HandshakeStatus,
    InterfaceStatus, LackStatus, RepairCount, ServiceStatus, SourcePorts, Status, Verdicts,
};
