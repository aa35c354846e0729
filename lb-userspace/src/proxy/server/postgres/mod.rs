//! `pg_tls`: TLS as PostgreSQL's clients begin it, in front of servers that speak plaintext.
//!
//! A client asks for TLS in PostgreSQL's own words (SSLRequest) or, from version 17 on, begins with
//! it (ALPN `postgresql`). A cancel request comes on a connection of its own and names its session
//! by a key that the session's server gave out, so we note who gave out which.
//!
//! <https://www.postgresql.org/docs/18/protocol-flow.html>, "SSL Session Encryption" and
//! "Canceling Requests in Progress".

mod cancel;
mod error;
mod keyed;
mod keys;
pub(crate) mod message;
mod serve;
#[cfg(test)]
mod tests;

pub(crate) use self::{keys::CancelKeys, serve::serve};
