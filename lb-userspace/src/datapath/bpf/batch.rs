//! Batched map reads: many entries per system call.
//!
//! The kernel reads a hash map bucket by bucket (`__htab_map_lookup_and_delete_batch` in
//! kernel/bpf/hashtab.c). The cursor is opaque and must be passed back unchanged. ENOENT marks the
//! end, and that call still returns entries. ENOSPC means that the buffer is smaller than one
//! bucket. Entries that live through the whole walk are seen exactly once, because each bucket is
//! read whole under its lock.

use std::{io, mem};

use aya::Pod;

use super::{
    error::DatapathError,
    sys::{self, Batch, Cmd},
    typed_map::TypedMap,
};

/// Entries requested per call: 0.5 MiB of flows.
const ROOM: usize = 4096;

/// An iteration over all entries of a `TypedMap`.
pub(crate) struct Walk<'a, K, V> {
    table: &'a TypedMap<K, V>,
    keys: Vec<K>,
    values: Vec<V>,
    /// The kernel's cursor. A hash map uses four bytes.
    cursor: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Start,
    Middle,
    End,
}

impl<K: Pod, V: Pod> TypedMap<K, V> {
    /// Returns an iteration that starts at the first entry.
    #[must_use]
    pub(crate) fn walk(&self) -> Walk<'_, K, V> {
        Walk {
            table: self,
            keys: zeroed(ROOM),
            values: zeroed(ROOM),
            cursor: 0,
            state: State::Start,
        }
    }
}

impl<K: Pod, V: Pod> Walk<'_, K, V> {
    /// Returns the next batch of entries, which may be empty; `None` after the last.
    ///
    /// # Errors
    ///
    /// The system call failed (EINVAL or EOPNOTSUPP on kernels before 5.6).
    pub(crate) fn next_batch(
        &mut self,
    ) -> Result<Option<impl Iterator<Item = (&K, &V)> + '_>, DatapathError> {
        if self.state == State::End {
            return Ok(None);
        }
        let filled = loop {
            match self.read()? {
                Some(filled) => break filled,
                None => self.grow(),
            }
        };
        Ok(Some(self.keys[..filled].iter().zip(&self.values[..filled])))
    }

    /// Returns the number of entries read; `None` if a bucket is larger than the buffer.
    fn read(&mut self) -> Result<Option<usize>, DatapathError> {
        let mut next = self.cursor;
        let mut attr = Batch {
            in_batch: match self.state {
                State::Start => 0,
                State::Middle | State::End => &raw const self.cursor as u64,
            },
            out_batch: &raw mut next as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: self.keys.len() as u32,
            map_fd: sys::number(self.table.fd()),
            ..Batch::default()
        };
        // SAFETY: keys and values have room for `count` elements of the sizes that
        // TypedMap::open compared, and both cursors are the four bytes a hash map uses.
        let done = unsafe { sys::bpf(Cmd::LookupBatch, &mut attr) };
        let errno = done.as_ref().err().map_or(0, errno);
        self.state = match errno {
            0 => State::Middle,
            libc::ENOENT => State::End,
            libc::ENOSPC => return Ok(None),
            // This includes EFAULT: what the kernel wrote then is undefined.
            _ => return Err(self.table.error(io::Error::from_raw_os_error(errno))),
        };
        self.cursor = next;
        Ok(Some(attr.count as usize))
    }

    fn grow(&mut self) {
        let room = self.keys.len() * 2;
        self.keys = zeroed(room);
        self.values = zeroed(room);
    }
}

fn zeroed<T: Pod>(length: usize) -> Vec<T> {
    // SAFETY: T is Pod: every bit pattern, so also all zeroes, is a value.
    vec![unsafe { mem::zeroed() }; length]
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
