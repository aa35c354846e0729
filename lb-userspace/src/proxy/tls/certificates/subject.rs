//! What a client asks for a certificate for.

use std::net::IpAddr;

#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// The name that it sent (SNI).
    Name(&'a str),
    /// Where it connected to. It sent no name, or an address as one, which is not allowed
    /// (RFC 6066 3) and overlooked.
    Address(IpAddr),
}
