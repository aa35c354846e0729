//! What the model answers about who sends.

use super::model::Model;
use crate::{
    abi::{Address, ListKey, SourceKey, access},
    context::{
        map_values::{MeterRef, WordRef},
        source_tables::Sources,
    },
};

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
