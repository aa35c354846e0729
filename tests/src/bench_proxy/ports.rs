//! The ports of whoever is compared.

/// HTTP in plaintext and over TLS.
pub(super) const HTTP: u16 = 80;
pub(super) const HTTPS: u16 = 443;
/// TLS ended, and what is inside relayed.
pub(super) const RELAY: u16 = 8443;
/// Relayed as they are, with version 1 of the PROXY protocol first.
pub(super) const ANNOUNCED: u16 = 8444;
/// HTTP whose connections become tunnels.
pub(super) const TUNNEL: u16 = 81;
