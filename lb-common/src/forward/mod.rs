//! How a packet is sent on: rewritten, in a tunnel, by its next hop.

pub mod decap;
pub mod encap;
pub(crate) mod mss_clamp;
pub mod nat;
pub mod next_hop;
pub(crate) mod obstacle;
