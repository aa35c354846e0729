//! What a packet is where it is of no established flow.

pub mod admit;
pub mod backend_gone;
pub mod extension_headers;
pub mod flood_guard;
pub mod fragment;
pub mod full_parse;
pub mod icmp;
pub mod neighbours;
pub mod unknown_segment;
