//! LOAD: the live connection count of every backend, shared with the kernel program.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Index of a backend's count. Servers with the same address and port share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoadSlot(pub u32);

type Words = dyn Deref<Target = [AtomicU64]> + Send + Sync;

/// Handle to the counts. The kernel program changes the same words with atomic adds.
#[derive(Clone)]
pub struct Load {
    words: Arc<Words>,
    /// This process's share of each count: what the sweeper subtracts to see the kernel's.
    permits: Arc<[AtomicU64]>,
}

impl Load {
    /// Over the mapped pages of the BPF array.
    pub fn shared(words: impl Deref<Target = [AtomicU64]> + Send + Sync + 'static) -> Self {
        let permits = words.iter().map(|_| AtomicU64::new(0)).collect();
        Self { words: Arc::new(words), permits }
    }

    /// Over this process's own memory: a proxy without a kernel half, and tests.
    #[must_use]
    pub fn local(slots: usize) -> Self {
        Self::shared((0..slots).map(|_| AtomicU64::new(0)).collect::<Vec<_>>())
    }

    /// Live connections of `slot`.
    #[must_use]
    pub fn count(&self, slot: LoadSlot) -> u64 {
        self.word(slot).load(Ordering::Relaxed)
    }

    /// How many of them hold a [`Permit`] of this process.
    #[must_use]
    pub fn permits(&self, slot: LoadSlot) -> u64 {
        self.permits[slot.0 as usize].load(Ordering::Relaxed)
    }

    /// How many slots there are.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.words.len()
    }

    /// Counts one connection of `slot` until the permit is dropped.
    #[must_use]
    pub fn enter(&self, slot: LoadSlot) -> Permit {
        self.permits[slot.0 as usize].fetch_add(1, Ordering::Relaxed);
        self.word(slot).fetch_add(1, Ordering::Relaxed);
        Permit { load: self.clone(), slot }
    }

    /// Takes `by` connections out of `slot`: flows that the kernel program will not count out.
    pub fn leave(&self, slot: LoadSlot, by: u64) {
        self.word(slot).fetch_sub(by, Ordering::Relaxed);
    }

    /// Adds `by` to the count of `slot`: the correction of a count that drifted.
    pub fn correct(&self, slot: LoadSlot, by: i64) {
        // Two's complement: a wrapping add of the bits subtracts where `by` is negative.
        self.word(slot).fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }

    fn word(&self, slot: LoadSlot) -> &AtomicU64 {
        &self.words[slot.0 as usize]
    }
}

/// One counted connection.
pub struct Permit {
    load: Load,
    slot: LoadSlot,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.load.leave(self.slot, 1);
        self.load.permits[self.slot.0 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_counts_until_it_is_dropped() {
        let load = Load::local(2);
        let slot = LoadSlot(1);
        let permit = load.enter(slot);
        assert_eq!(load.count(slot), 1);
        assert_eq!(load.permits(slot), 1);
        assert_eq!(load.count(LoadSlot(0)), 0);
        drop(permit);
        assert_eq!(load.count(slot), 0);
        assert_eq!(load.permits(slot), 0);
    }

    #[test]
    fn only_permits_are_this_process_s_share() {
        let load = Load::local(1);
        let slot = LoadSlot(0);
        let _permit = load.enter(slot);
        load.correct(slot, 3);
        assert_eq!((load.count(slot), load.permits(slot)), (4, 1));
        load.correct(slot, -3);
        load.leave(slot, 1);
        assert_eq!((load.count(slot), load.permits(slot)), (0, 1));
    }
}
