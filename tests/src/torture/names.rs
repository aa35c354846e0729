//! What the traffic asks for, and where.

/// The name that every request carries, and the certificates are for.
pub(super) const HOST: &str = "app.example.test";

/// HTTP/1.1 and h2c, WebSockets too.
pub(super) const HTTP: u16 = 80;
/// HTTP/2 over TLS.
pub(super) const HTTPS: u16 = 443;
pub(super) const POSTGRES: u16 = 5432;
/// Steered; of iperf3's TCP session, and of its UDP session, which has TCP beside it.
pub(super) const STEERED_TCP: u16 = 5201;
pub(super) const STEERED_UDP: u16 = 5202;

/// The ports from which nobody who asks may be reset.
pub(super) const WANTED: [u16; 5] = [HTTP, HTTPS, POSTGRES, STEERED_TCP, STEERED_UDP];
