//! Flows from their first packet to their last.

pub mod open;
pub(crate) mod opening;
pub(crate) mod port_shortage;
pub(crate) mod tcp_state;
