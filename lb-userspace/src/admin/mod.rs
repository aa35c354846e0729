//! The admin socket: how `lb status` and other commands ask the daemon.

pub mod client;
mod error;
mod explain;
mod flows;
mod handover;
mod json_lines;
mod listener;
mod lock_file;
mod request;
mod selector;
mod socket_path;
mod status;
#[cfg(test)]
mod tests;

pub use error::AdminError;
pub use explain::{
    DecisionStatus, Explanation, FlowKnown, OutgoingPacket, PacketQuery, TraceLine, TraceQuery,
};
pub use flows::{FlowList, FlowQuery, FlowStatus};
pub use handover::AdminHandover;
pub use listener::AdminListener;
pub use request::{
    AdminRequest, DrainReply, DrainRequest, Envelope, ReloadReply, ReloadRequest, RequestSender,
    UpgradeReply, UpgradeRequest,
};
pub use selector::{Endpoint, FlowState, FlowTraits, Network, Selector, Transport};
pub use status::{
    BackendStatus, CertificateStatus, Drops, FailedHandshakes, Flows, HandshakeStatus,
    InterfaceStatus, LackStatus, RepairCount, ServiceStatus, SourcePorts, Status, Verdicts,
};
