//! Limits of concurrency, and the queue.

use std::time::Duration;

/// How much of a service the proxy serves at a time: requests (http) or connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// From this number on, new ones wait. Default: the hard limit, so that nobody waits.
    pub soft_limit: u16,
    /// From this number on, waiting ones included, new ones are refused. Default 65535.
    pub hard_limit: u16,
}

/// The queue for room at a service or its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The length of the queue; 0: none. Default 1024.
    pub length: u32,
    /// The longest wait. Default 10 s.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { length: 1024, timeout: Duration::from_secs(10) }
    }
}

/// The limits of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    pub kind: ConcurrencyKind,
    /// Over it, other backends are preferred.
    pub soft_limit: u32,
    /// At it, the backend gets nothing new. `None`: unlimited.
    pub hard_limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrencyKind {
    Connections,
    Requests,
}
