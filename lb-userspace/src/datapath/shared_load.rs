//! The LOAD array in this process's memory.

use std::{
    io,
    ops::Deref,
    os::fd::{AsFd, AsRawFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::AtomicU64,
};

use aya::maps::{Map, MapData};

use super::DatapathError;

/// `map_flags` of an array that can be mapped.
pub(super) const BPF_F_MMAPABLE: u32 = 1 << 10;

/// A `BPF_F_MMAPABLE` array of `u64`, mapped: the words that the kernel program adds to.
pub struct SharedLoad {
    words: NonNull<AtomicU64>,
    length: usize,
    bytes: usize,
    /// The mapping holds its own reference to the map; this one serves whoever asks the kernel.
    _map: MapData,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is reached through atomics only.
unsafe impl Send for SharedLoad {}
// SAFETY: as above.
unsafe impl Sync for SharedLoad {}

impl SharedLoad {
    /// # Errors
    ///
    /// The map is not a mappable array of `u64`, or mmap failed.
    pub(super) fn map(map: Map, name: &'static str) -> Result<Self, DatapathError> {
        let Map::Array(map) = map else {
            return Err(DatapathError::MapKind { name });
        };
        let info = map.info().map_err(|e| DatapathError::table(name, e))?;
        if info.value_size() != 8 || info.map_flags() & BPF_F_MMAPABLE == 0 {
            return Err(DatapathError::MapKind { name });
        }
        let length = info.max_entries() as usize;
        let bytes = (length * size_of::<AtomicU64>()).next_multiple_of(page_size());
        let words = map_shared(&map, bytes).map_err(|source| DatapathError::Table {
            name,
            action: "mapped",
            source,
        })?;
        Ok(Self { words, length, bytes, _map: map })
    }
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

impl Deref for SharedLoad {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `bytes` are mapped read-write from the page-aligned `words` on until drop, which
        // is at least `length` words; AtomicU64 has the layout of the map's u64, and both sides
        // change them atomically.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.length) }
    }
}

impl Drop for SharedLoad {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `map_shared` made, and no slice of it outlives self.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.bytes) };
    }
}
