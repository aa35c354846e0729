//! A worker's idle backend connections. The most recently used goes first, so that the others may
//! grow old and be closed.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    time::Duration,
};

use tokio::time::Instant;

use super::connection::H1Connection;
use crate::load::LoadSlot;

pub(crate) struct H1Pool {
    /// By slot; the longest idle first. A slot may come to belong to another address.
    idle: RefCell<Vec<Vec<Idle>>>,
    max_idle: Cell<usize>,
    idle_timeout: Cell<Duration>,
}

struct Idle {
    upstream: Box<H1Connection>,
    address: SocketAddr,
    since: Instant,
}

impl H1Pool {
    pub(crate) fn new(max_idle: usize, idle_timeout: Duration) -> Self {
        let (max_idle, idle_timeout) = (Cell::new(max_idle), Cell::new(idle_timeout));
        Self { idle: RefCell::default(), max_idle, idle_timeout }
    }

    /// Keeps other numbers of connections, for other times, from now on.
    pub(crate) fn configure(&self, max_idle: usize, idle_timeout: Duration) {
        self.max_idle.set(max_idle);
        self.idle_timeout.set(idle_timeout);
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout.get()
    }

    /// A connection that can take a request, as far as we know by now.
    pub(crate) fn take(&self, slot: LoadSlot, address: SocketAddr) -> Option<Box<H1Connection>> {
        let mut pools = self.idle.borrow_mut();
        let pool = pools.get_mut(slot.0 as usize)?;
        loop {
            let mut idle = pool.pop()?;
            if idle.address == address && self.is_usable(&mut idle) {
                return Some(idle.upstream);
            }
        }
    }

    /// Keeps `upstream`, or closes it where enough are kept.
    pub(crate) fn put(&self, slot: LoadSlot, address: SocketAddr, upstream: Box<H1Connection>) {
        let mut pools = self.idle.borrow_mut();
        let index = slot.0 as usize;
        if pools.len() <= index {
            pools.resize_with(index + 1, Vec::new);
        }
        if pools[index].len() < self.max_idle.get() {
            let since = Instant::now();
            pools[index].push(Idle { upstream, address, since });
        }
    }

    /// Closes connections that have been idle for too long, or that the backend closed.
    pub(crate) fn sweep(&self) {
        for pool in self.idle.borrow_mut().iter_mut() {
            pool.retain_mut(|idle| self.is_usable(idle));
            if pool.is_empty() {
                pool.shrink_to_fit();
            }
        }
    }

    /// Closes all.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    fn is_usable(&self, idle: &mut Idle) -> bool {
        idle.since.elapsed() < self.idle_timeout.get() && idle.upstream.is_reusable()
    }

    /// Sweeps from time to time, for ever.
    pub(crate) async fn keep_swept(&self) {
        const OFTEN: Duration = Duration::from_secs(1);
        loop {
            tokio::time::sleep(OFTEN.min(self.idle_timeout.get())).await;
            self.sweep();
        }
    }
}
