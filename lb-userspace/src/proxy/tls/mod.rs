//! TLS towards clients: certificates, session tickets and the handshake. Imports `net` and `http`.

pub(crate) mod certificates;
pub(crate) mod client_cert;
pub(crate) mod client_hello;
pub(crate) mod handshake_stats;
pub(crate) mod hostname_map;
pub(crate) mod plaintext;
pub(crate) mod session_info;
pub(crate) mod session_tickets;
pub(crate) mod terminator;
pub(crate) mod ticket_key;
