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
    sys::{self, Cmd, Element},
};

const ANY: u64 = 0;

/// Typed handle to a hash map, a trie of prefixes, or with `K = u32` to an array. All methods take `&self` and work
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
        let (Map::HashMap(map) | Map::LruHashMap(map) | Map::Array(map) | Map::LpmTrie(map)) = map
        else {
            return Err(DatapathError::MapKind { name });
        };
        let info = map.info().map_err(|source| DatapathError::table(name, source))?;
        let (key, value) = (info.key_size() as usize, info.value_size() as usize);
        if (key, value) != (size_of::<K>(), size_of::<V>()) {
            return Err(DatapathError::MapKind { name });
        }
        Ok(Self { map, name, _types: PhantomData })
    }

    /// How many entries there is room for.
    ///
    /// # Errors
    ///
    /// The system call failed.
    pub fn max_entries(&self) -> Result<u32, DatapathError> {
        let info = self.map.info();
        info.map(|info| info.max_entries())
            .map_err(|source| DatapathError::table(self.name, source))
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
        match unsafe { sys::bpf(Cmd::Delete, &mut attr) } {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(self.error(error)),
        }
    }

    fn write(&self, key: &K, value: &V, flags: u64) -> io::Result<()> {
        let mut attr = Element::new(self.fd(), key, (&raw const *value).cast_mut(), flags);
        // SAFETY: `key` and `value` are of the sizes that `open` compared; both are only read.
        unsafe { sys::bpf(Cmd::Update, &mut attr) }
    }

    pub(super) fn error(&self, source: io::Error) -> DatapathError {
        DatapathError::table(self.name, source)
    }
}
