//! Which server gave out which key for cancelling a session.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::message::CancelKey;

/// The keys of the sessions of all workers: a cancel request may come to any of them.
///
/// It is locked once when a session begins, once when it ends, and for a cancel request; never for
/// a query.
pub(crate) struct CancelKeys {
    shards: [Mutex<HashMap<CancelKey, SocketAddr>>; 16],
    hasher: RandomState,
}

impl Default for CancelKeys {
    fn default() -> Self {
        Self { shards: Default::default(), hasher: RandomState::new() }
    }
}

impl CancelKeys {
    pub(crate) fn enter(self: &Arc<Self>, key: CancelKey, server: SocketAddr) -> RegisteredKey {
        self.with(&key, |keys| keys.insert(key.clone(), server));
        RegisteredKey { keys: self.clone(), key }
    }

    pub(crate) fn find(&self, key: &CancelKey) -> Option<SocketAddr> {
        self.with(key, |keys| keys.get(key).copied())
    }

    fn with<T>(
        &self,
        key: &CancelKey,
        act: impl FnOnce(&mut HashMap<CancelKey, SocketAddr>) -> T,
    ) -> T {
        let shard = self.hasher.hash_one(key) as usize % self.shards.len();
        act(&mut self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A key that is known until this is dropped.
pub(crate) struct RegisteredKey {
    keys: Arc<CancelKeys>,
    key: CancelKey,
}

impl Drop for RegisteredKey {
    fn drop(&mut self) {
        self.keys.with(&self.key, |keys| keys.remove(&self.key));
    }
}
