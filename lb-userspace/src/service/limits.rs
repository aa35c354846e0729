//! How much is served at a time, and who waits.

use std::time::Duration;

/// How much of a service the proxy serves at a time: requests (http) or connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// From here on new ones wait. Default: the hard limit, so that nobody waits.
    pub soft_limit: u16,
    /// From here on, those who wait included, new ones are refused. Default 65535.
    pub hard_limit: u16,
}

/// Who waits for room at a service or its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// So many at a time. 0: nobody. Default 1024.
    pub length: u32,
    /// For so long. Default 10 s.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { length: 1024, timeout: Duration::from_secs(10) }
    }
}

/// How much one backend may carry at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    pub kind: ConcurrencyKind,
    /// Over it, other backends are preferred.
    pub soft_limit: u32,
    /// Nothing new at or over it. `None`: unlimited.
    pub hard_limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrencyKind {
    Connections,
    Requests,
}
