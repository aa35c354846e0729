//! What the daemon holds: memory, descriptors, threads, entries of the kernel's tables.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

use crate::measure::{cpu, entries};

/// Descriptors that may come and go on their own: a client of the admin socket, a timer.
const FILES_OF_A_MOMENT: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct Footprint {
    files: usize,
    threads: usize,
    /// By the map's name: those whose entries follow the configuration.
    entries: BTreeMap<String, usize>,
}

impl Footprint {
    pub(super) fn of(id: u32) -> Result<Self> {
        let count = |what: &str| -> Result<usize> {
            Ok(fs::read_dir(format!("/proc/{id}/{what}")).context("no process")?.count())
        };
        let entries = entries::of_process(id)?;
        Ok(Self { files: count("fd")?, threads: count("task")?, entries })
    }

    /// What there is more of than `before`, in words.
    pub(super) fn beyond(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.files > before.files + FILES_OF_A_MOMENT {
            found.push(format!("{} descriptors after {}", self.files, before.files));
        }
        if self.threads > before.threads {
            found.push(format!("{} threads after {}", self.threads, before.threads));
        }
        for (map, &count) in &self.entries {
            let before = before.entries.get(map).copied().unwrap_or_default();
            if count > before {
                found.push(format!("{count} entries in {map} after {before}"));
            }
        }
        found
    }
}

/// Resident memory over a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    kib: f64,
    /// Reloads before it was looked at.
    reloads: usize,
}

impl Memory {
    /// KiB by which it may grow whatever happens: pools of the allocator, buffers of connections.
    const BASE: f64 = 16.0 * 1024.0;
    /// KiB for each reload: less than the smallest thing that one makes, a list of services.
    const EACH: f64 = 2.0;

    pub(super) fn of(id: u32, reloads: usize) -> Result<Self> {
        Ok(Self { kib: cpu::resident(&[id])?, reloads })
    }

    /// Whether it grew out of bounds, in words.
    pub(super) fn beyond(self, before: Self) -> Option<String> {
        let reloads = (self.reloads - before.reloads) as f64;
        let grown = self.kib - before.kib;
        (grown > Self::BASE + Self::EACH * reloads).then(|| {
            format!("{grown} KiB of memory more after {reloads} reloads, of {} KiB", self.kib)
        })
    }
}
