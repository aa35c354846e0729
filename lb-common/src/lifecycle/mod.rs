//! Flows from their first packet to their last.

pub mod open;
pub mod opening;
pub mod port_shortage;
pub mod tcp_state;
