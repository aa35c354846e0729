//! Who sends, as ordinary maps.

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    collections::HashMap,
    hash::Hash,
};

use super::Model;
use crate::{
    abi::{Address, ListKey, Meter, SourceKey, access},
    in_place::{MeterRef, WordRef},
    sources::Sources,
};

/// The part of the model that answers for [`Sources`].
#[derive(Default)]
pub struct Crowd {
    /// Prefixes, as the kernel's trie has them.
    pub lists: HashMap<ListKey, u32>,
    due: Words<SourceKey>,
    known: Words<Address>,
    meters: RefCell<HashMap<u32, Box<UnsafeCell<Meter>>>>,
}

/// Boxed, so that they stay where they are.
struct Words<K>(RefCell<HashMap<K, Box<Cell<u64>>>>);

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
    fn all(&self) -> Vec<(K, u64)> {
        self.0.borrow().iter().map(|(key, word)| (*key, word.get())).collect()
    }

    fn find(&self, key: &K) -> Option<WordRef> {
        // SAFETY: nothing is ever removed, and a box does not move.
        self.0.borrow().get(key).map(|word| unsafe { WordRef::new(word.as_ptr()) })
    }

    fn add(&self, key: &K, value: u64) {
        self.0.borrow_mut().insert(*key, Box::new(Cell::new(value)));
    }
}

impl Sources for Model {
    fn access(&self, key: &ListKey) -> u32 {
        let bits = |address: Address| u128::from_be_bytes(address.bytes());
        let holds = |prefix: &ListKey| {
            let rest = 128 - prefix.length();
            let differs = bits(prefix.address) ^ bits(key.address);
            prefix.service == key.service && differs.checked_shr(rest).unwrap_or(0) == 0
        };
        let named = self.crowd.lists.iter().filter(|(prefix, _)| holds(prefix));
        let longest = named.max_by_key(|(prefix, _)| prefix.length());
        longest.map_or(access::UNNAMED, |(_, access)| *access)
    }

    fn meter(&self, service: u32) -> Option<MeterRef> {
        let mut meters = self.crowd.meters.borrow_mut();
        // SAFETY: as in `Words::find`.
        Some(unsafe { MeterRef::new(meters.entry(service).or_default().get()) })
    }

    fn due(&self, key: &SourceKey) -> Option<WordRef> {
        self.crowd.due.find(key)
    }

    fn add_source(&self, key: &SourceKey, due: u64) {
        self.crowd.due.add(key, due);
    }

    fn known(&self, source: &Address) -> Option<WordRef> {
        self.crowd.known.find(source)
    }

    fn add_known(&self, source: &Address, at: u64) {
        self.crowd.known.add(source, at);
    }

    fn add(&self, word: WordRef, by: u64) -> u64 {
        let before = word.load();
        word.store(before.wrapping_add(by));
        before
    }
}
