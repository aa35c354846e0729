//! The admin socket: what `lb status` and other commands ask the daemon, over a unix socket.

pub mod client;
mod error;
mod explain;
mod flows;
mod lines;
mod listener;
mod lock;
mod order;
mod selector;
mod status;
#[cfg(test)]
mod tests;

pub use error::AdminError;
pub use explain::{
    DecisionStatus, Explanation, FlowKnown, Leaves, Question, TraceLine, TraceQuery,
};
pub use flows::{FlowList, FlowQuery, FlowStatus};
pub use listener::AdminListener;
pub use order::{Asked, Drain, Drained, Order, Orders};
pub use selector::{Endpoint, FlowState, Network, Selector, Traits, Transport};
pub use status::{
    BackendStatus, CertificateStatus, Drops, FailedHandshakes, Flows, HandshakeStatus,
    InterfaceStatus, LackStatus, Repaired, ServiceStatus, SourcePorts, Status, Verdicts,
};
