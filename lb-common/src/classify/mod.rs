//! What a packet is where it is of no established flow.

pub mod admit;
pub(crate) mod backend_gone;
pub(crate) mod extension_headers;
pub mod flood_guard;
pub(crate) mod fragment;
pub(crate) mod full_parse;
pub mod icmp;
pub(crate) mod neighbours;
pub(crate) mod unknown_segment;
