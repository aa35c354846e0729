//! The maps about who sends. Sizes here are floors for a bare load.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    macros::map,
    maps::{Array, LpmTrie, LruHashMap, lpm_trie},
};
use lb_common::{
    abi::{Address, ListKey, Meter, SourceKey, access},
    map_values::{MeterRef, WordRef},
    source_tables::Sources,
};

use crate::maps::Kernel;

/// Service and address: what stands behind the length in a [`ListKey`].
type Prefix = [u32; 5];

#[map]
static LISTS: LpmTrie<Prefix, u32> = LpmTrie::with_max_entries(1024, 0);
#[map]
static METERS: Array<Meter> = Array::with_max_entries(1024, 0);
#[map]
static SOURCES: LruHashMap<SourceKey, u64> = LruHashMap::with_max_entries(1024, 0);
#[map]
static KNOWN: LruHashMap<Address, u64> = LruHashMap::with_max_entries(1024, 0);

impl Sources for Kernel {
    #[inline(always)]
    fn access(&self, key: &ListKey) -> u32 {
        // SAFETY: of the same layout, and less aligned.
        let key = unsafe { &*(&raw const *key).cast::<lpm_trie::Key<Prefix>>() };
        LISTS.get(key).copied().unwrap_or(access::UNNAMED)
    }

    #[inline(always)]
    fn meter(&self, service: u32) -> Option<MeterRef> {
        // SAFETY: a map's memory outlives every packet.
        METERS.get_ptr_mut(service).map(|meter| unsafe { MeterRef::new(meter) })
    }

    #[inline(always)]
    fn due(&self, key: &SourceKey) -> Option<WordRef> {
        // SAFETY: as above; an entry that the LRU gives away stays a word of the map.
        SOURCES.get_ptr_mut(key).map(|word| unsafe { WordRef::new(word) })
    }

    #[inline(always)]
    fn add_source(&self, key: &SourceKey, due: u64) {
        // Full of what other CPUs are about to use: measured the next time.
        let _ = SOURCES.insert(key, due, 0);
    }

    #[inline(always)]
    fn known(&self, source: &Address) -> Option<WordRef> {
        // SAFETY: as in `due`.
        KNOWN.get_ptr_mut(source).map(|word| unsafe { WordRef::new(word) })
    }

    #[inline(always)]
    fn add_known(&self, source: &Address, at: u64) {
        let _ = KNOWN.insert(source, at, 0);
    }

    #[inline(always)]
    fn add(&self, word: WordRef, by: u64) -> u64 {
        // SAFETY: a live aligned word, as WordRef promises.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(word.as_ptr(), by) }
    }
}
