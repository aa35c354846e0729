//! Which backend and which source port a new flow gets.

pub(crate) mod affinity;
pub mod pick;
pub(crate) mod quic;
