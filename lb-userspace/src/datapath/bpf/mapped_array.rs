//! BPF arrays mapped into this process's memory.

use std::{
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    ops::Deref,
    os::fd::{AsFd, AsRawFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use aya::{
    Pod,
    maps::{Map, MapData},
};

use super::error::DatapathError;

/// The map flag of an array that can be mapped.
pub(crate) const BPF_F_MMAPABLE: u32 = 1 << 10;
const WORD: usize = size_of::<u64>();

/// A mapped `BPF_F_MMAPABLE` array of `T`: the words that the kernel program reads and writes. They
/// are accessible only as atomics, because either side may change them at any time.
pub(crate) struct Mapped<T> {
    words: NonNull<AtomicU64>,
    entries: usize,
    bytes: usize,
    /// The mapping holds its own reference to the map; this one is for system calls on the map.
    _map: MapData,
    _type: PhantomData<fn() -> T>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is accessed through atomics
// only.
unsafe impl<T> Send for Mapped<T> {}
// SAFETY: as for `Send`: all access is through atomics.
unsafe impl<T> Sync for Mapped<T> {}

impl<T: Pod> Mapped<T> {
    /// Words per entry. The kernel rounds entries up to whole words; `T` must be made of whole
    /// words.
    const WORDS: usize = {
        assert!(size_of::<T>().is_multiple_of(WORD) && align_of::<T>() <= WORD);
        size_of::<T>() / WORD
    };

    /// # Errors
    ///
    /// The map is not a mappable array of `T`, or mmap failed.
    pub(crate) fn map(map: Map, name: &'static str) -> Result<Self, DatapathError> {
        let Map::Array(map) = map else {
            return Err(DatapathError::MapKind { name });
        };
        let info = map.info().map_err(|e| DatapathError::table(name, e))?;
        if info.value_size() as usize != size_of::<T>() || info.map_flags() & BPF_F_MMAPABLE == 0 {
            return Err(DatapathError::MapKind { name });
        }
        let entries = info.max_entries() as usize;
        let bytes = (entries * size_of::<T>()).next_multiple_of(page_size());
        let words = map_shared(&map, bytes).map_err(|source| DatapathError::Table {
            name,
            action: "mapped",
            source,
        })?;
        Ok(Self { words, entries, bytes, _map: map, _type: PhantomData })
    }

    /// Returns the number of entries.
    #[must_use]
    pub(crate) const fn entries(&self) -> usize {
        self.entries
    }

    /// Returns the words of one entry; `None` beyond the last.
    #[must_use]
    pub(crate) fn entry(&self, index: usize) -> Option<&[AtomicU64]> {
        self.get(index.checked_mul(Self::WORDS)?..)?.get(..Self::WORDS)
    }
}

impl<T: Pod> Mapped<T> {
    /// Returns all half words, in the order of memory.
    pub(crate) fn halves(&self) -> &[AtomicU32] {
        let words: &[AtomicU64] = self;
        // SAFETY: the same memory for the same lifetime, with a smaller alignment. Neither side
        // accesses whole words where halves are written.
        unsafe { slice::from_raw_parts(words.as_ptr().cast(), words.len() * 2) }
    }
}

/// The words of all entries.
impl<T: Pod> Deref for Mapped<T> {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `words` is page-aligned and mapped read-write for `bytes` until drop, which is at
        // least that many words. AtomicU64 has the layout of u64, and this side accesses them
        // atomically only.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.entries * Self::WORDS) }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `map_shared` made, and no slice of it outlives self.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.bytes) };
    }
}

/// Copies an entry, word by word. The caller must find out whether the copy is torn.
pub(crate) fn copy<T: Pod>(entry: &[AtomicU64]) -> T {
    assert_eq!(size_of_val(entry), size_of::<T>());
    let mut value = MaybeUninit::<T>::uninit();
    for (index, word) in entry.iter().enumerate() {
        // SAFETY: `value` is as long as `entry`; the writes are unaligned because T may need less
        // alignment than a word.
        unsafe {
            let place = value.as_mut_ptr().cast::<u64>().add(index);
            place.write_unaligned(word.load(Ordering::Relaxed));
        }
    }
    // SAFETY: every byte is written, and T is Pod.
    unsafe { value.assume_init() }
}

/// Returns half of an entry's word, by its byte offset in the entry.
pub(crate) fn half(entry: &[AtomicU64], offset: usize) -> &AtomicU32 {
    let word = &entry[offset / WORD];
    assert!(offset.is_multiple_of(align_of::<u32>()));
    // SAFETY: the half is within the word, aligned, and borrowed for as long as the word is.
    // Neither side accesses the whole word where a half is written.
    unsafe { AtomicU32::from_ptr(word.as_ptr().cast::<u8>().add(offset % WORD).cast()) }
}

fn map_shared(map: &MapData, bytes: usize) -> io::Result<NonNull<AtomicU64>> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            map.fd().as_fd().as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))
}

fn page_size() -> usize {
    // SAFETY: sysconf reads a constant.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
