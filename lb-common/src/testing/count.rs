//! Words that stand for what CPUs count.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A word that threads change at once.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(SeqCst)
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, SeqCst);
    }

    /// Tells what it was.
    pub fn add(&self, by: u64) -> u64 {
        self.0.fetch_add(by, SeqCst)
    }

    pub(crate) fn take_one(&self) {
        let before = self.0.fetch_sub(1, SeqCst);
        assert!(before > 0, "counted out more often than in");
    }
}
