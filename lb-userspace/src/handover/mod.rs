//! A new process takes the place of the running one, which gives it its sockets and locks.
//!
//! ```text
//! old                               new
//! fork, exec, inherited descriptors
//!                                   loads its programs, changes nothing
//!                         ← prepared
//! changes nothing any more
//! commit →
//!                                   takes the tables, programs and sockets over
//!                         ← serving
//! drains its connections
//! ```
//!
//! Until `serving` the old process goes on accepting connections, and if the new one ends before,
//! it goes on as if nothing had been. Locks belong to the open file description, and listening
//! sockets with their queues of connections to the socket: both are shared by inheritance, so there
//! is no moment without a holder. The messages are lines of JSON on a socket pair.

mod child;
mod descriptor;
mod message;
mod parent;
mod stored;

pub use self::{
    child::NewProcess,
    message::{HandoverState, ServiceTotals, TicketKeys},
    parent::{OldProcess, Refusal},
    stored::{store_listeners, stored_listeners},
};
