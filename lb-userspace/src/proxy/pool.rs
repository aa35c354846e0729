//! A worker's idle backend connections. The most recently used goes first, so that the others may
//! grow old and be closed.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, time::Duration};

use tokio::time::Instant;

use super::upstream::Upstream;

pub(super) struct Pools {
    /// By backend; the longest idle first.
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
    max_idle: usize,
    idle_timeout: Duration,
}

struct Idle {
    upstream: Upstream,
    since: Instant,
}

impl Pools {
    pub fn new(max_idle: usize, idle_timeout: Duration) -> Self {
        Self { idle: RefCell::default(), max_idle, idle_timeout }
    }

    /// A connection that can take a request, as far as we know by now.
    pub fn take(&self, address: SocketAddr) -> Option<Upstream> {
        loop {
            let Idle { mut upstream, since } = self.idle.borrow_mut().get_mut(&address)?.pop()?;
            if since.elapsed() < self.idle_timeout && upstream.is_reusable() {
                return Some(upstream);
            }
        }
    }

    /// Keeps `upstream`, or closes it where enough are kept.
    pub fn put(&self, address: SocketAddr, upstream: Upstream) {
        let mut pools = self.idle.borrow_mut();
        let pool = pools.entry(address).or_default();
        if pool.len() < self.max_idle {
            let since = Instant::now();
            pool.push(Idle { upstream, since });
        }
    }

    /// Closes connections that have been idle for too long, or that the backend closed.
    pub fn sweep(&self) {
        let mut pools = self.idle.borrow_mut();
        pools.retain(|_, pool| {
            pool.retain_mut(|idle| {
                idle.since.elapsed() < self.idle_timeout && idle.upstream.is_reusable()
            });
            !pool.is_empty()
        });
    }

    /// Sweeps from time to time, for ever.
    pub async fn keep_swept(&self) {
        const OFTEN: Duration = Duration::from_secs(1);
        loop {
            tokio::time::sleep(OFTEN.min(self.idle_timeout)).await;
            self.sweep();
        }
    }
}
