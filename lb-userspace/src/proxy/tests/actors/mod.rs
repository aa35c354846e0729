//! Clients, backends and the proxy between them.

pub(super) mod backend;
pub(super) mod client;
pub(super) mod h2_server;
pub(super) mod lab;
