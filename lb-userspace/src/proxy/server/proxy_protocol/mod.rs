//! The PROXY protocol: who the client is, told ahead of a connection's first byte.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

mod announce;
mod facts;
mod malformed;
pub(crate) mod receive;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    announce::announce,
    receive::{ReceivedHeader, receive},
};
