//! The daemon's door: status over a unix socket.

pub mod client;
mod explain;
mod flows;
mod lines;
mod lock;
mod order;
mod selector;
mod server;
mod status;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

pub use explain::{
    DecisionStatus, Explanation, FlowKnown, Leaves, Question, TraceLine, TraceQuery,
};
pub use flows::{FlowList, FlowQuery, FlowStatus};
pub use order::{Asked, Drain, Drained, Order, Orders};
pub use selector::{Endpoint, FlowState, Network, Selector, Traits, Transport};
pub use server::Door;
pub use status::{
    BackendStatus, CertificateStatus, Drops, FailedHandshakes, Flows, HandshakeStatus,
    InterfaceStatus, LackStatus, Repaired, ServiceStatus, SourcePorts, Status, Verdicts,
};

/// Why the door stays shut.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "another lb is running: it holds {}; stop it, or give this one another socket in \
         [admin] listen", .0.display()
    )]
    Running(PathBuf),
    #[error(
        "{} is there and no socket: remove it, or name another path in [admin] listen",
        .0.display()
    )]
    NoSocket(PathBuf),
    #[error(
        "another program listens on {}: stop it, or name another path in [admin] listen",
        .0.display()
    )]
    Occupied(PathBuf),
    #[error("cannot listen on the admin socket {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
}
