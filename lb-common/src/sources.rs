//! What the packet path asks of its surroundings about who sends.

use crate::{
    abi::{Address, ListKey, Meter, SourceKey},
    tables::WordRef,
};

/// The maps of [`guard`](crate::guard).
pub trait Sources {
    /// What LISTS says of an address: [`abi::access`](crate::abi::access) of the longest prefix.
    fn access(&self, key: &ListKey) -> u32;
    fn meter(&self, service: u32) -> Option<MeterRef>;
    /// When the next flow of a source is due.
    fn due(&self, key: &SourceKey) -> Option<WordRef>;
    /// Begins to measure a source.
    fn add_source(&self, key: &SourceKey, due: u64);
    /// When a source last showed that it gets what is sent to it, ns.
    fn known(&self, source: &Address) -> Option<WordRef>;
    fn add_known(&self, source: &Address, at: u64);
    /// Adds to a word in one step and tells what it was.
    fn add(&self, word: WordRef, by: u64) -> u64;
}

impl WordRef {
    /// Where any value that CPUs write there is right.
    #[inline(always)]
    pub fn store(self, value: u64) {
        // SAFETY: the word lives as its map does; one aligned store, which does not tear.
        unsafe { self.as_ptr().write_volatile(value) }
    }
}

/// A service's meter, in place.
#[derive(Clone, Copy)]
pub struct MeterRef(*mut Meter);

impl MeterRef {
    /// # Safety
    /// `meter` must stay valid for as long as the packet at hand is processed.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(meter: *mut Meter) -> Self {
        Self(meter)
    }

    /// [`Meter::due`].
    #[inline(always)]
    #[must_use]
    pub const fn due(self) -> WordRef {
        // SAFETY: the meter lives, as `new` was promised; its fields are aligned words.
        unsafe { WordRef::new(&raw mut (*self.0).due) }
    }

    /// [`Meter::window`].
    #[inline(always)]
    #[must_use]
    pub const fn window(self) -> WordRef {
        // SAFETY: as above.
        unsafe { WordRef::new(&raw mut (*self.0).window) }
    }

    /// [`Meter::attacked`].
    #[inline(always)]
    #[must_use]
    pub const fn attacked(self) -> WordRef {
        // SAFETY: as above.
        unsafe { WordRef::new(&raw mut (*self.0).attacked) }
    }
}
