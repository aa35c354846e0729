//! What came of one kind of traffic.

use std::thread::JoinHandle;

use anyhow::{Error, Result};

/// Failures that are told of; all are counted.
const TOLD: usize = 20;

/// Requests, queries or lines of one kind, as the clients saw them.
#[derive(Clone, Debug, Default)]
pub(in crate::torture) struct Count {
    pub kind: &'static str,
    pub requests: u64,
    /// Whatever did not end as it should: errors of sockets, statuses other than 2xx.
    pub failed: u64,
    /// Connections that were to last and did not.
    pub lost: u64,
    pub notes: Vec<String>,
}

impl Count {
    pub(super) fn of(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }

    pub(super) fn fail(&mut self, error: &Error) {
        self.failed += 1;
        self.note(format!("{error:#}"));
    }

    pub(super) fn lose(&mut self, error: &Error) {
        self.lost += 1;
        self.note(format!("{error:#}"));
    }

    pub(super) fn note(&mut self, text: String) {
        if self.notes.len() < TOLD {
            self.notes.push(format!("{}: {text}", self.kind));
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.lost += other.lost;
        self.notes.extend(other.notes);
    }
}

/// What a thread of ours counted. A panic of it goes on here.
pub(super) fn joined(thread: JoinHandle<Count>) -> Result<Count> {
    thread.join().or_else(|panic| std::panic::resume_unwind(panic))
}
