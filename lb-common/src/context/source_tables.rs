//! What the packet path asks of its surroundings about who sends.

use super::map_values::{MeterRef, WordRef};
use crate::abi::{Address, ListKey, SourceKey};

/// The maps of `classify::flood_guard`.
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
