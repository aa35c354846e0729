//! TLS towards clients.

mod certificates;
mod client_auth;
mod handshakes;
mod nameless;
