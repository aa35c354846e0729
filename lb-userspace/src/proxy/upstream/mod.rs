//! The backend's half: connections, pools, one exchange, and another attempt where it fails.
//! Imports all rooms but `server`.

pub(crate) mod attempts;
pub(crate) mod dialer;
pub(crate) mod exchange;
pub(crate) mod failure_log;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod latency_probe;
pub(crate) mod lease;
pub(crate) mod outcome;
pub(crate) mod request_copy;
pub(crate) mod response_body;
pub(crate) mod tcp;
pub(crate) mod upstreams;
