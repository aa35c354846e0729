//! LOAD: the live connection count of every backend, shared with the kernel program.

mod latency;

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use lb_common::abi::live;

pub use self::latency::{Latency, Tick};

/// Index of a backend's count. Servers with the same address and port share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoadSlot(pub u32);

type Words = Box<dyn Deref<Target = [AtomicU64]> + Send + Sync>;

/// A handle to the counts. The kernel program changes the same words with atomic adds: see
/// [`live`].
#[derive(Clone)]
pub struct Load(Arc<Counts>);

struct Counts {
    words: Words,
    /// The processes' shares of each count: the sweeper subtracts them to get the kernel's share.
    /// One generation's shares of all slots after the other.
    permits: Words,
    /// Where this process's begin.
    own: usize,
}

/// Processes that may have connections at a time: one that serves, and others that drain after an
/// upgrade.
pub const GENERATIONS: usize = 4;

impl Load {
    /// Uses the mapped pages of the BPF array.
    pub fn shared(words: impl Deref<Target = [AtomicU64]> + Send + Sync + 'static) -> Self {
        let permits: Vec<_> = words.iter().map(|_| AtomicU64::new(0)).collect();
        Self::counted(words, permits, 0)
    }

    /// The same, with the shares of each count in words that may outlive this process: one for each
    /// slot and [generation](GENERATIONS).
    pub fn counted(
        words: impl Deref<Target = [AtomicU64]> + Send + Sync + 'static,
        permits: impl Deref<Target = [AtomicU64]> + Send + Sync + 'static,
        generation: usize,
    ) -> Self {
        let own = generation * words.len();
        Self(Arc::new(Counts { words: Box::new(words), permits: Box::new(permits), own }))
    }

    /// Subtracts from the counts what a process that is gone left in its share: connections that
    /// ended with it. Before the first [`enter`](Self::enter) this may be this process's own
    /// generation. Returns how many they were.
    ///
    /// A process that was killed during `enter` or the drop of a permit may have left one
    /// connection in a count; the sweeper finds it.
    pub fn subtract_stale(&self, generation: usize) -> u64 {
        let slots = self.slots();
        let shares = self.0.permits.iter().skip(generation * slots).take(slots);
        let mut subtracted = 0;
        for (word, share) in self.0.words.iter().zip(shares) {
            let gone = share.swap(0, Ordering::Relaxed);
            let less =
                |word: u64| (gone > 0).then(|| word.wrapping_sub(gone.min(live::count(word))));
            let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            subtracted += gone;
        }
        subtracted
    }

    /// Uses this process's own memory: for a proxy without a kernel half, and for tests.
    #[must_use]
    pub fn local(slots: usize) -> Self {
        Self::shared((0..slots).map(|_| AtomicU64::new(0)).collect::<Vec<_>>())
    }

    /// Returns the live connections of `slot`.
    #[must_use]
    pub fn count(&self, slot: LoadSlot) -> u64 {
        live::count(self.reading(slot))
    }

    /// Returns the word that [`live::count`] reads: it changes with every event of the slot, even
    /// if the count returns to its old value.
    #[must_use]
    pub fn reading(&self, slot: LoadSlot) -> u64 {
        self.word(slot).load(Ordering::Relaxed)
    }

    /// Returns how many of them hold a [`Permit`] of this process, or of another generation.
    #[must_use]
    pub fn permits(&self, slot: LoadSlot) -> u64 {
        let shares = self.0.permits.iter().skip(slot.0 as usize).step_by(self.slots());
        shares.map(|share| share.load(Ordering::Relaxed)).sum()
    }

    /// Returns the number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.0.words.len()
    }

    /// Counts one connection of `slot` until the permit is dropped.
    #[must_use]
    pub fn enter(&self, slot: LoadSlot) -> Permit {
        // The share is changed last here and first at the end: a process killed in between leaves
        // the count one too high, never one too low.
        self.word(slot).fetch_add(live::IN, Ordering::Relaxed);
        self.share(slot).fetch_add(1, Ordering::Relaxed);
        Permit { load: self.clone(), slot }
    }

    /// The same, unless there are `limit` already. This locks nobody out: the kernel program may
    /// exceed `limit` at the same time.
    #[must_use]
    pub fn enter_below(&self, slot: LoadSlot, limit: u64) -> Option<Permit> {
        let below = |word| (live::count(word) < limit).then(|| word.wrapping_add(live::IN));
        let word = self.word(slot);
        word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).ok()?;
        self.share(slot).fetch_add(1, Ordering::Relaxed);
        Some(Permit { load: self.clone(), slot })
    }

    /// Subtracts `by` connections from `slot`: flows that the kernel program will not count out.
    pub fn leave(&self, slot: LoadSlot, by: u64) {
        self.word(slot).fetch_add(live::OUT.wrapping_mul(by), Ordering::Relaxed);
    }

    /// Adds `by` to the count of `slot`, to correct drift.
    pub fn correct(&self, slot: LoadSlot, by: i64) {
        // Two's complement: a wrapping add of the bits subtracts if `by` is negative.
        self.word(slot).fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }

    fn word(&self, slot: LoadSlot) -> &AtomicU64 {
        &self.0.words[slot.0 as usize]
    }

    fn share(&self, slot: LoadSlot) -> &AtomicU64 {
        &self.0.permits[self.0.own + slot.0 as usize]
    }
}

/// One counted connection.
pub struct Permit {
    load: Load,
    slot: LoadSlot,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.load.share(self.slot).fetch_sub(1, Ordering::Relaxed);
        self.load.leave(self.slot, 1);
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
    fn whatever_happens_shows_in_the_reading() {
        let load = Load::local(1);
        let slot = LoadSlot(0);
        let _stays = load.enter(slot);
        let before = load.reading(slot);
        drop(load.enter(slot));
        assert_eq!(load.count(slot), 1);
        assert_ne!(load.reading(slot), before);
        load.leave(slot, 2);
        load.correct(slot, 1);
        assert_eq!(load.count(slot), 0, "by way of -1");
    }

    #[test]
    fn what_an_earlier_process_held_is_taken_out() {
        let words = |counts: [u64; 3]| counts.map(AtomicU64::new).into_iter().collect::<Vec<_>>();
        let shares = [[3, 0, 1], [0, 1, 0], [0; 3], [0; 3]].into_iter().flat_map(words);
        let load = Load::counted(words([7, 2, 0]), shares.collect::<Vec<_>>(), 2);
        assert_eq!(load.subtract_stale(0), 4);
        assert_eq!([0, 1, 2].map(|slot| load.count(LoadSlot(slot))), [4, 2, 0]);
        assert_eq!([0, 1, 2].map(|slot| load.permits(LoadSlot(slot))), [0, 1, 0], "of another");
        let permit = load.enter(LoadSlot(1));
        assert_eq!(load.permits(LoadSlot(1)), 2);
        assert_eq!(load.subtract_stale(1), 1);
        assert_eq!((load.count(LoadSlot(1)), load.permits(LoadSlot(1))), (2, 1));
        drop(permit);
        assert_eq!((load.count(LoadSlot(1)), load.permits(LoadSlot(1))), (1, 0));
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
