//! How large the bench is, and the clock that it reads.

use std::time::Duration;

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};

#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub services: u32,
    /// Of each service.
    pub servers: u32,
    /// As `[node] maglev_table_size`. `None`: by the servers.
    pub maglev_size: Option<u32>,
    /// In the table that is swept.
    pub flows: u32,
}

/// Of this process, all threads, in the kernel too.
pub(super) fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
