//! A pool of ids for one of the kernel's tables.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Instant,
};

use crate::control::error::ControlError;

pub(crate) struct IdPool<K> {
    what: &'static str,
    room: u32,
    held: HashMap<K, Held>,
    /// Holders without a claim, so that [`settle`](Self::settle) looks at nothing else.
    leaving: Vec<K>,
    /// Free ids below `fresh`.
    free: BTreeSet<u32>,
    /// The first id that was never held; all above are free, too.
    fresh: u32,
    /// Ids given or taken since the last note, in order.
    changes: Vec<(u32, Option<K>)>,
}

struct Held {
    id: u32,
    claims: u32,
    /// It is in `leaving`.
    is_leaving: bool,
    /// When a settlement released it; meanwhile the kernel's tables forget it.
    let_go: Option<Instant>,
}

/// Whether something in the kernel's tables still refers to an id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdUsage {
    Lasts,
    Over,
}

impl<K: Hash + Eq + Clone> IdPool<K> {
    pub(crate) fn new(what: &'static str, room: u32) -> Self {
        let (held, leaving, free) = (HashMap::new(), Vec::new(), BTreeSet::new());
        Self { what, room, held, leaving, free, fresh: 0, changes: Vec::new() }
    }

    /// Claims the id of `key`, which keeps it until it has been released as often as claimed.
    pub(crate) fn claim(&mut self, key: K) -> Result<u32, ControlError> {
        if let Some(held) = self.held.get_mut(&key) {
            held.claims += 1;
            return Ok(held.id);
        }
        let id = self.unused_id()?;
        self.changes.push((id, Some(key.clone())));
        self.held.insert(key, Held { id, claims: 1, is_leaving: false, let_go: None });
        Ok(id)
    }

    /// Gives `key` the id that it had before, without a claim. Contradictions are ignored: an id
    /// out of range, or with two holders.
    pub(crate) fn resume(&mut self, key: K, id: u32) {
        let is_taken = id < self.fresh && !self.free.contains(&id);
        if id >= self.room || is_taken || self.held.contains_key(&key) {
            return;
        }
        self.reserve(id);
        self.leaving.push(key.clone());
        self.held.insert(key, Held { id, claims: 0, is_leaving: true, let_go: None });
    }

    /// Reserves an id: nobody gets it from now on.
    pub(crate) fn reserve(&mut self, id: u32) {
        if id >= self.fresh {
            self.free.extend(self.fresh..id);
            self.fresh = id + 1;
        }
        self.free.remove(&id);
    }

    pub(crate) fn holders(&self) -> impl Iterator<Item = (&K, u32)> {
        self.held.iter().map(|(key, held)| (key, held.id))
    }

    /// Returns the ids that were given or taken (`None`) since [`mark_noted`](Self::mark_noted), in
    /// order.
    pub(crate) fn changes(&self) -> &[(u32, Option<K>)] {
        &self.changes
    }

    pub(crate) fn mark_noted(&mut self) {
        self.changes.clear();
    }

    /// Returns the id of `key`, assigning one if needed, without a claim.
    pub(crate) fn find(&mut self, key: K) -> Result<u32, ControlError> {
        let id = self.claim(key.clone())?;
        self.release(&key);
        Ok(id)
    }

    pub(crate) fn holder(&self, key: &K) -> Option<u32> {
        self.held.get(key).map(|held| held.id)
    }

    pub(crate) fn release(&mut self, key: &K) {
        let held = self.held.get_mut(key).expect("only what was claimed is given up");
        held.claims -= 1;
        if held.claims == 0 {
            held.let_go = None;
            if !std::mem::replace(&mut held.is_leaving, true) {
                self.leaving.push(key.clone());
            }
        }
    }

    /// Frees ids without a claim: those that an earlier settlement released, if `is_named` says
    /// that nothing can refer to them since then.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        use_of: impl Fn(&K, u32) -> IdUsage,
        is_named: impl Fn(u32, Instant) -> bool,
    ) {
        let Self { held, free, changes, .. } = self;
        self.leaving.retain(|key| {
            let entry = held.get_mut(key).expect("who is leaving is not gone");
            if entry.claims > 0 {
                entry.is_leaving = false;
                return false;
            }
            if use_of(key, entry.id) == IdUsage::Lasts {
                return true;
            }
            let Some(since) = entry.let_go else {
                entry.let_go = Some(now);
                return true;
            };
            if is_named(entry.id, since) {
                return true;
            }
            free.insert(entry.id);
            changes.push((entry.id, None));
            held.remove(key);
            false
        });
    }

    fn unused_id(&mut self) -> Result<u32, ControlError> {
        if let Some(id) = self.free.pop_first() {
            return Ok(id);
        }
        let Self { what, room, fresh, .. } = *self;
        if fresh == room {
            return Err(ControlError::Full { what, room });
        }
        self.fresh += 1;
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ids() -> IdPool<&'static str> {
        IdPool::new("things", 2)
    }

    fn settle(ids: &mut IdPool<&'static str>, used: IdUsage) {
        ids.settle(Instant::now(), |_, _| used, |_, _| false);
    }

    #[test]
    fn an_id_is_kept_until_it_was_given_up_as_often_as_claimed() {
        let mut ids = ids();
        assert_eq!((ids.claim("a"), ids.claim("b"), ids.claim("a")), (Ok(0), Ok(1), Ok(0)));
        ids.release(&"a");
        for _ in 0..3 {
            settle(&mut ids, IdUsage::Over);
        }
        assert_eq!(ids.claim("c"), Err(ControlError::Full { what: "things", room: 2 }));
        assert_eq!(ids.holder(&"a"), Some(0));
    }

    #[test]
    fn what_was_given_up_is_free_two_settlements_later() {
        let mut ids = ids();
        ids.claim("a").unwrap();
        ids.claim("b").unwrap();
        ids.release(&"a");
        settle(&mut ids, IdUsage::Over);
        assert!(ids.claim("c").is_err(), "let go, not free");
        settle(&mut ids, IdUsage::Over);
        assert_eq!(ids.claim("c"), Ok(0));
    }

    #[test]
    fn a_claim_in_time_takes_it_back() {
        let mut ids = ids();
        ids.claim("a").unwrap();
        ids.release(&"a");
        settle(&mut ids, IdUsage::Over);
        assert_eq!(ids.claim("a"), Ok(0));
        settle(&mut ids, IdUsage::Over);
        ids.release(&"a");
        settle(&mut ids, IdUsage::Over);
        assert_eq!(ids.holder(&"a"), Some(0), "the time counts anew");
        settle(&mut ids, IdUsage::Over);
        assert_eq!(ids.holder(&"a"), None);
    }

    #[test]
    fn what_is_in_use_stays() {
        let mut ids = ids();
        ids.find("a").unwrap();
        for _ in 0..4 {
            settle(&mut ids, IdUsage::Lasts);
        }
        assert_eq!(ids.find("a"), Ok(0));
        settle(&mut ids, IdUsage::Over);
        settle(&mut ids, IdUsage::Over);
        assert_eq!(ids.holder(&"a"), None);
    }

    #[test]
    fn what_may_still_be_named_stays() {
        let mut ids = ids();
        ids.claim("a").unwrap();
        ids.release(&"a");
        let begun = Instant::now();
        for seconds in 0..4 {
            let now = begun + Duration::from_secs(seconds);
            ids.settle(now, |_, _| IdUsage::Over, |id, since| id == 0 && since == begun);
        }
        assert_eq!(ids.holder(&"a"), Some(0));
        ids.settle(begun + Duration::from_secs(4), |_, _| IdUsage::Over, |_, _| false);
        assert_eq!(ids.holder(&"a"), None);
    }

    #[test]
    fn given_up_twice_is_free_once() {
        let mut ids = ids();
        for _ in 0..2 {
            ids.claim("a").unwrap();
            ids.release(&"a");
        }
        settle(&mut ids, IdUsage::Over);
        assert_eq!(ids.holder(&"a"), Some(0), "let go, not free");
        settle(&mut ids, IdUsage::Over);
        assert_eq!((ids.claim("b"), ids.claim("c")), (Ok(0), Ok(1)));
    }
}
