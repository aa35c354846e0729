//! A client's connection from its first byte to its last. Imports all other rooms.

pub(crate) mod accept;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod extended_connect;
pub(crate) mod forward;
pub(crate) mod http;
pub(crate) mod postgres;
pub(crate) mod proxy_protocol;
pub(crate) mod replay;
pub(crate) mod worker;
