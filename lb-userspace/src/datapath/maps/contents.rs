//! Reads the tables' contents back, as the commands that would produce them.

use std::sync::atomic::Ordering;

use lb_common::abi::{Backend, RING_WORDS, Ring, Service, status};

use super::kernel_tables::KernelTables;
use crate::datapath::bpf::{error::DatapathError, typed_map::TypedMap};
use crate::tables::{Capacity, Command};

impl KernelTables {
    /// Returns the contents of all tables. Ring slots that no service points to are left out.
    ///
    /// # Errors
    ///
    /// A system call failed.
    pub fn contents(&self) -> Result<Vec<Command>, DatapathError> {
        let mut contents = Vec::new();
        for (id, backend) in entries(&self.backends)? {
            if backend != Backend::default() {
                contents.push(Command::SetBackend { id, backend });
                let status = self.status(id)?;
                if status != status::HERE {
                    contents.push(Command::SetStatus { id, status });
                }
            }
        }
        for (id, service) in entries(&self.services)? {
            if service != Service::default() {
                contents.push(Command::SetService { id, service });
            }
        }
        for (service, word) in (0..).zip(self.current_rings.iter()) {
            let ring = Ring::from_word(word.load(Ordering::Acquire));
            if let Some(words) = self.words(ring).filter(|_| ring != Ring::default()) {
                let offset = ring.offset();
                contents.push(Command::WriteRing { offset, fingerprint: None, words });
                contents.push(Command::SetRing { service, ring });
            }
        }
        contents
            .extend(entries(&self.vips)?.into_iter().map(|(key, vip)| Command::SetVip(key, vip)));
        let ranges = self.ranges.each()?.into_iter();
        contents.extend(ranges.map(|(key, vip)| Command::SetRange(key, vip)));
        let quic_ids = entries(&self.quic_ids)?.into_iter();
        contents.extend(quic_ids.map(|(key, backend)| Command::SetQuicId(key, backend)));
        let addresses = entries(&self.addresses)?.into_iter();
        contents.extend(addresses.map(|(address, flags)| Command::SetAddress(address, flags)));
        let lists = self.lists.each()?.into_iter();
        contents.extend(lists.map(|(prefix, access)| Command::SetAccess(prefix, access)));
        Ok(contents)
    }

    /// Returns the capacity of the tables, with `loads` for LOAD. Tables of an earlier daemon may
    /// have more room than was configured.
    ///
    /// # Errors
    ///
    /// A system call failed.
    pub fn capacity(&self, loads: usize) -> Result<Capacity, DatapathError> {
        Ok(Capacity {
            services: self.services.max_entries()?,
            backends: self.backends.max_entries()?,
            loads: loads as u32,
            rings: self.rings.entries() as u32 * RING_WORDS,
        })
    }

    /// Returns all words of a ring; `None` if they are incomplete.
    fn words(&self, ring: Ring) -> Option<Vec<u32>> {
        let words = self.rings.halves().get(ring.offset() as usize..)?;
        let word = |place: usize| Some(words.get(place)?.load(Ordering::Relaxed));
        // Each region has its member count, and its length is in the word behind it.
        let (mut end, mut length) = (0, ring.length() as usize);
        for _ in 0..Ring::REGIONS {
            end += length + 1 + word(end + length)? as usize;
            length = word(end)? as usize;
            end += 1;
            if length == 0 {
                return (0..end).map(word).collect();
            }
        }
        None
    }
}

/// Returns all entries; those of an array are complete and in the order of their index.
fn entries<K: aya::Pod, V: aya::Pod>(table: &TypedMap<K, V>) -> Result<Vec<(K, V)>, DatapathError> {
    let mut all = Vec::new();
    let mut walk = table.walk();
    while let Some(batch) = walk.next_batch()? {
        all.extend(batch.map(|(&key, &value)| (key, value)));
    }
    Ok(all)
}
