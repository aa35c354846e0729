//! Which backend and which source port a new flow gets.

pub mod affinity;
pub mod pick;
pub mod quic;
