//! Who sends, as ordinary maps.

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    collections::HashMap,
    hash::Hash,
};

use crate::{
    abi::{Address, ListKey, Meter, SourceKey},
    context::map_values::WordRef,
};

/// The part of the model that answers for `Sources`.
#[derive(Default)]
pub struct Crowd {
    /// Prefixes, as the kernel's trie has them.
    pub lists: HashMap<ListKey, u32>,
    pub(crate) due: Words<SourceKey>,
    pub(crate) known: Words<Address>,
    pub(crate) meters: RefCell<HashMap<u32, Box<UnsafeCell<Meter>>>>,
}

/// Boxed, so that they stay where they are.
pub(crate) struct Words<K>(RefCell<HashMap<K, Box<Cell<u64>>>>);

impl<K> Default for Words<K> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl Crowd {
    /// When the next flow of each source that is measured is due.
    #[must_use]
    pub fn due(&self) -> Vec<(SourceKey, u64)> {
        self.due.all()
    }

    /// When each known source was last heard of.
    #[must_use]
    pub fn known(&self) -> Vec<(Address, u64)> {
        self.known.all()
    }
}

impl<K: Copy + Eq + Hash> Words<K> {
    pub(crate) fn all(&self) -> Vec<(K, u64)> {
        self.0.borrow().iter().map(|(key, word)| (*key, word.get())).collect()
    }

    pub(crate) fn find(&self, key: &K) -> Option<WordRef> {
        // SAFETY: nothing is ever removed, and a box does not move.
        self.0.borrow().get(key).map(|word| unsafe { WordRef::new(word.as_ptr()) })
    }

    pub(crate) fn add(&self, key: &K, value: u64) {
        self.0.borrow_mut().insert(*key, Box::new(Cell::new(value)));
    }
}
