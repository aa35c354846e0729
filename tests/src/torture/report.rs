//! What came of it.

use std::fmt;

use serde::Serialize;

use super::load::Count;

/// All that is not zero among the last five is a fault.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub reloads: usize,
    pub upgrades: usize,
    pub requests: u64,
    /// Requests, and reloads whose answer was not the expected one.
    pub failed: u64,
    /// That reached the client from an announced address.
    pub resets: u64,
    pub websockets_lost: u64,
    pub counters_backwards: usize,
    /// Kinds of things that the daemon has more of at the end: memory, descriptors, threads,
    /// entries of tables, live connections that no socket stands for.
    pub leaked: usize,
    #[serde(skip)]
    counts: Vec<Count>,
    /// Each fault in words.
    #[serde(skip)]
    pub faults: Vec<String>,
}

impl Report {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Self { failed, resets, websockets_lost, counters_backwards, leaked, .. } = self;
        *failed + *resets + *websockets_lost == 0 && counters_backwards + leaked == 0
    }

    pub(super) fn add(&mut self, counts: Vec<Count>) {
        for count in counts {
            self.requests += count.requests;
            self.failed += count.failed;
            self.websockets_lost += count.lost;
            self.faults.extend(count.notes.iter().cloned());
            self.counts.push(count);
        }
    }

    pub(super) fn fail(&mut self, what: String) {
        eprintln!("torture: {what}");
        self.failed += 1;
        self.faults.push(what);
    }

    pub(super) fn reset(&mut self, by_port: &[(u16, u64)]) {
        for (port, packets) in by_port {
            self.resets += packets;
            self.faults.push(format!("{packets} resets from port {port}"));
        }
    }

    pub(super) fn leak(&mut self, found: impl IntoIterator<Item = String>) {
        for what in found {
            self.leaked += 1;
            self.faults.push(format!("leaked: {what}"));
        }
    }

    pub(super) fn fall(&mut self, found: Vec<String>) {
        self.counters_backwards += found.len();
        self.faults.extend(found.into_iter().map(|what| format!("a counter fell: {what}")));
    }

    /// Of kinds that were there, none was never served.
    #[must_use]
    pub fn never_served(&self) -> Vec<&'static str> {
        let idle = self.counts.iter().filter(|count| count.requests == 0);
        idle.map(|count| count.kind).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Count { kind, requests, failed, lost, notes: _ } in &self.counts {
            writeln!(f, "{kind:<32} {requests:>9} {failed:>6} failed {lost:>4} lost")?;
        }
        let Self { reloads, upgrades, requests, failed, resets, .. } = self;
        let Self { websockets_lost, counters_backwards, leaked, .. } = self;
        writeln!(
            f,
            "{reloads} reloads, {upgrades} upgrades, {requests} requests: {failed} failed,"
        )?;
        writeln!(f, "{resets} resets, {websockets_lost} WebSockets lost,")?;
        writeln!(f, "{counters_backwards} counters fell, {leaked} kinds of things leaked")?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "fault: {fault}"))
    }
}
