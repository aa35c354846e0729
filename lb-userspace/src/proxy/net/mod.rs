//! Sockets, bytes, timers and wakers: what knows nothing of HTTP, TLS or backends. Imports no other
//! room of the proxy.

pub(crate) mod coalesce;
pub(crate) mod descriptors;
pub(crate) mod drain;
pub(crate) mod early_response;
pub(crate) mod endpoints;
pub(crate) mod linger;
pub(crate) mod listener;
pub(crate) mod memory_purge;
pub(crate) mod relay;
pub(crate) mod reset_watch;
pub(crate) mod splice;
pub(crate) mod timer;
pub(crate) mod waker;
