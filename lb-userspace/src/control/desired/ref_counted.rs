//! Entries with a reference count.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

/// Entries that several services may want, with a reference count.
#[derive(Clone, Debug)]
pub(crate) struct RefCounted<K, V>(HashMap<K, (V, u32)>);

impl<K, V> Default for RefCounted<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Copy, V> RefCounted<K, V> {
    /// Adds a reference. The last caller determines the value.
    pub(super) fn add(&mut self, key: K, value: V) {
        let count = self.0.get(&key).map_or(0, |entry| entry.1);
        self.0.insert(key, (value, count + 1));
    }

    pub(super) fn remove(&mut self, key: K) {
        if let Entry::Occupied(mut entry) = self.0.entry(key) {
            entry.get_mut().1 -= 1;
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }

    pub(crate) fn find(&self, key: &K) -> Option<&V> {
        self.0.get(key).map(|entry| &entry.0)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.0.keys().copied()
    }
}
