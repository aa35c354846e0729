//! A BPF map with typed keys and values, by the element commands of `bpf(2)`.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd},
    ptr,
};

use aya::{Pod, maps::Map, maps::MapData};

use super::{
    DatapathError,
    sys::{self, Batch, Cmd, Element},
};

const ANY: u64 = 0;
/// Entries written at once.
const ROOM: usize = 4096;

/// Typed handle to a hash map, or with `K = u32` to an array. All methods take `&self` and work
/// beside the kernel program, which changes values in place.
pub struct Table<K, V> {
    map: MapData,
    name: &'static str,
    _types: PhantomData<fn(K) -> V>,
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// # Errors
    ///
    /// The map is of another kind, or its key or value of another size.
    pub(super) fn open(map: Map, name: &'static str) -> Result<Self, DatapathError> {
        let (Map::HashMap(map) | Map::LruHashMap(map) | Map::Array(map)) = map else {
            return Err(DatapathError::MapKind { name });
        };
        let info = map.info().map_err(|source| DatapathError::table(name, source))?;
        let (key, value) = (info.key_size() as usize, info.value_size() as usize);
        if (key, value) != (size_of::<K>(), size_of::<V>()) {
            return Err(DatapathError::MapKind { name });
        }
        Ok(Self { map, name, _types: PhantomData })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }

    /// Inserts or replaces.
    ///
    /// # Errors
    ///
    /// The table is full or the index of an array is outside of it (E2BIG), or the system call failed.
    pub fn insert(&self, key: &K, value: &V) -> Result<(), DatapathError> {
        self.write(key, value, ANY).map_err(|error| self.error(error))
    }

    /// Answers whether there was something to delete.
    ///
    /// # Errors
    ///
    /// The system call failed otherwise than by not finding the key.
    pub fn delete(&self, key: &K) -> Result<bool, DatapathError> {
        let mut attr = Element::new::<K, V>(self.fd(), key, ptr::null_mut(), 0);
        // SAFETY: `key` is a K, of the size that `open` compared; the command reads no value.
        let done = unsafe { sys::bpf(Cmd::Delete, &mut attr) };
        self.found(done).map(|found| found.is_some())
    }

    fn write(&self, key: &K, value: &V, flags: u64) -> io::Result<()> {
        let mut attr = Element::new(self.fd(), key, (&raw const *value).cast_mut(), flags);
        // SAFETY: `key` and `value` are of the sizes that `open` compared; both are only read.
        unsafe { sys::bpf(Cmd::Update, &mut attr) }
    }

    fn found(&self, done: io::Result<()>) -> Result<Option<()>, DatapathError> {
        match done {
            Ok(()) => Ok(Some(())),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(self.error(error)),
        }
    }

    pub(super) fn error(&self, source: io::Error) -> DatapathError {
        DatapathError::table(self.name, source)
    }
}

impl<V: Pod> Table<u32, V> {
    /// Fills neighbouring slots of an array from `first` on.
    ///
    /// # Errors
    ///
    /// A slot lies outside of the array (E2BIG), or the system call failed.
    pub fn fill(&self, first: u32, values: &[V]) -> Result<(), DatapathError> {
        for (at, part) in (first..).step_by(ROOM).zip(values.chunks(ROOM)) {
            let keys: Vec<u32> = (at..).take(part.len()).collect();
            let mut attr = Batch {
                keys: keys.as_ptr() as u64,
                values: part.as_ptr() as u64,
                count: part.len() as u32,
                map_fd: sys::number(self.fd()),
                ..Batch::default()
            };
            // SAFETY: keys and values hold `count` elements each, of the sizes that Table::open
            // compared; both are only read.
            unsafe { sys::bpf(Cmd::UpdateBatch, &mut attr) }.map_err(|error| self.error(error))?;
        }
        Ok(())
    }
}
