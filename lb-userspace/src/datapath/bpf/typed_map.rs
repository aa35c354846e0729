//! A BPF map with typed keys and values, accessed by the element commands of `bpf(2)`.

use std::{
    io,
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd},
    ptr,
};

use aya::{Pod, maps::Map, maps::MapData};

use super::{
    error::DatapathError,
    sys::{self, Cmd, Element},
};

const ANY: u64 = 0;

/// A typed handle to a hash map, to an LPM trie whose keys begin with their length, or, with `K =
/// u32`, to an array. All methods take `&self`; the kernel program may change values in place
/// meanwhile.
pub(crate) struct TypedMap<K, V> {
    map: MapData,
    name: &'static str,
    _types: PhantomData<fn(K) -> V>,
}

impl<K: Pod, V: Pod> TypedMap<K, V> {
    /// # Errors
    ///
    /// The map is of another kind, or its keys or values have another size.
    pub(crate) fn open(map: Map, name: &'static str) -> Result<Self, DatapathError> {
        let (Map::HashMap(map) | Map::LruHashMap(map) | Map::LpmTrie(map) | Map::Array(map)) = map
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

    /// Returns the capacity in entries.
    ///
    /// # Errors
    ///
    /// The system call failed.
    pub(crate) fn max_entries(&self) -> Result<u32, DatapathError> {
        let info = self.map.info();
        info.map(|info| info.max_entries())
            .map_err(|source| DatapathError::table(self.name, source))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }

    /// Inserts or replaces an entry.
    ///
    /// # Errors
    ///
    /// The table is full, the index is outside the array (E2BIG), or the system call failed.
    pub(crate) fn insert(&self, key: &K, value: &V) -> Result<(), DatapathError> {
        self.write(key, value, ANY).map_err(|error| self.error(error))
    }

    /// Deletes an entry. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// The system call failed, other than because the key is absent.
    pub(crate) fn delete(&self, key: &K) -> Result<bool, DatapathError> {
        let mut attr = Element::new::<K, V>(self.fd(), key, ptr::null_mut(), 0);
        // SAFETY: `key` is a K, of the size that `open` compared; the command reads no value.
        let done = unsafe { sys::bpf(Cmd::Delete, &mut attr) };
        self.found(done).map(|found| found.is_some())
    }

    /// Returns all entries, read one by one: the entries of an LPM trie may not fit the batches of
    /// [`walk`](Self::walk). Nobody may insert or delete meanwhile.
    ///
    /// # Errors
    ///
    /// The system call failed.
    pub(crate) fn each(&self) -> Result<Vec<(K, V)>, DatapathError> {
        let mut entries: Vec<(K, V)> = Vec::new();
        loop {
            let last = entries.last().map_or(ptr::null(), |(key, _)| ptr::from_ref(key));
            let mut next = MaybeUninit::<K>::uninit();
            let mut attr = Element::after(self.fd(), last, next.as_mut_ptr());
            // SAFETY: `last` is null or a K, and `next` has room for one, of the size that `open`
            // compared.
            let done = unsafe { sys::bpf(Cmd::NextKey, &mut attr) };
            let Some(()) = self.found(done)? else { return Ok(entries) };
            // SAFETY: on success the kernel has written the whole key, and K is Pod.
            let key = unsafe { next.assume_init() };
            let mut value = MaybeUninit::<V>::uninit();
            let mut attr = Element::new(self.fd(), &key, value.as_mut_ptr(), 0);
            // SAFETY: `key` is a K and `value` has room for a V, as above.
            unsafe { sys::bpf(Cmd::Lookup, &mut attr) }.map_err(|error| self.error(error))?;
            // SAFETY: on success the kernel has written the whole value, and V is Pod.
            entries.push((key, unsafe { value.assume_init() }));
        }
    }

    fn found(&self, done: io::Result<()>) -> Result<Option<()>, DatapathError> {
        match done {
            Ok(()) => Ok(Some(())),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(self.error(error)),
        }
    }

    fn write(&self, key: &K, value: &V, flags: u64) -> io::Result<()> {
        let mut attr = Element::new(self.fd(), key, (&raw const *value).cast_mut(), flags);
        // SAFETY: `key` and `value` are of the sizes that `open` compared; both are only read.
        unsafe { sys::bpf(Cmd::Update, &mut attr) }
    }

    pub(crate) fn error(&self, source: io::Error) -> DatapathError {
        DatapathError::table(self.name, source)
    }
}
