//! Many clients at once.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::client::tcp_echo;

/// What came of a crowd's connections.
#[derive(Clone, Debug, Default)]
pub struct Crowd {
    /// Connections that were answered, by the server's name.
    pub answered: BTreeMap<String, usize>,
    pub failures: Vec<String>,
}

impl Crowd {
    /// Short connections to all of `to` in turn, `at_once` of them at a time, each with a line and
    /// its echo, for as long as there are `more` (asked with the number begun so far). To be called
    /// inside the client's namespace.
    #[must_use]
    pub fn come(to: &[SocketAddr], at_once: usize, more: impl Fn(usize) -> bool + Sync) -> Self {
        let begun = AtomicUsize::new(0);
        let visit = || {
            let mut own = Self::default();
            loop {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                if !more(number) {
                    return own;
                }
                own.note(tcp_echo(to[number % to.len()], &format!("hello {number}")));
            }
        };
        thread::scope(|scope| {
            let visitors: Vec<_> = (0..at_once).map(|_| scope.spawn(visit)).collect();
            visitors.into_iter().fold(Self::default(), |all, visitor| match visitor.join() {
                Ok(one) => all.and(one),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// `count` of them.
    #[must_use]
    pub fn of(to: &[SocketAddr], count: usize) -> Self {
        Self::come(to, 32, |begun| begun < count)
    }

    #[must_use]
    pub fn total(&self) -> usize {
        self.answered.values().sum()
    }

    fn note(&mut self, result: anyhow::Result<String>) {
        match result {
            Ok(name) => *self.answered.entry(name).or_default() += 1,
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }

    fn and(mut self, other: Self) -> Self {
        for (name, count) in other.answered {
            *self.answered.entry(name).or_default() += count;
        }
        self.failures.extend(other.failures);
        self
    }
}
