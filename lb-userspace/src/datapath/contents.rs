//! What control's tables hold, as the commands that would bring it there.

use lb_common::abi::{Backend, Ring, Service, status};

use super::{DatapathError, Tables, table::Table};
use crate::tables::{Capacity, Command};

impl Tables {
    /// All that the tables hold. Ring slots that no service points to are left out.
    ///
    /// # Errors
    ///
    /// A system call failed.
    pub fn contents(&self) -> Result<Vec<Command>, DatapathError> {
        let mut contents = Vec::new();
        for (id, backend) in entries(&self.backends)? {
            if backend != Backend::default() {
                contents.push(Command::SetBackend { id, backend });
            }
        }
        for (id, reach) in entries(&self.reach)? {
            if reach.status != status::HERE {
                contents.push(Command::SetStatus { id, status: reach.status });
            }
        }
        for (id, service) in entries(&self.services)? {
            if service != Service::default() {
                contents.push(Command::SetService { id, service });
            }
        }
        for (id, ring) in entries(&self.current)? {
            if let Some(words) = self.words(ring)? {
                let offset = ring.offset();
                contents.push(Command::WriteRing { offset, recipe: None, words });
                contents.push(Command::SetRing { id, ring });
            }
        }
        contents
            .extend(entries(&self.vips)?.into_iter().map(|(key, vip)| Command::SetVip(key, vip)));
        let addresses = entries(&self.addresses)?.into_iter();
        contents.extend(addresses.map(|(address, _)| Command::AddAddress(address)));
        Ok(contents)
    }

    /// The slots and the list of members behind them. `None`: no ring, or none that can be.
    fn words(&self, ring: Ring) -> Result<Option<Vec<u32>>, DatapathError> {
        let (offset, slots) = (u64::from(ring.offset()), u64::from(ring.length()));
        let room = u64::from(self.rings.max_entries()?);
        if slots == 0 || offset + slots >= room {
            return Ok(None);
        }
        let members = self.rings.lookup(&((offset + slots) as u32))?.unwrap_or_default();
        let end = offset + slots + 1 + u64::from(members);
        if end > room {
            return Ok(None);
        }
        let words = (offset..end)
            .map(|word| self.rings.lookup(&(word as u32)).map(Option::unwrap_or_default));
        words.collect::<Result<_, _>>().map(Some)
    }

    /// How much room the tables have with LOAD's `loads`, whatever was asked for: those that an
    /// earlier daemon left may have more.
    ///
    /// # Errors
    ///
    /// A system call failed.
    pub fn capacity(&self, loads: usize) -> Result<Capacity, DatapathError> {
        Ok(Capacity {
            services: self.services.max_entries()?,
            backends: self.backends.max_entries()?,
            loads: loads as u32,
            rings: self.rings.max_entries()?,
        })
    }
}

fn entries<K: aya::Pod, V: aya::Pod>(table: &Table<K, V>) -> Result<Vec<(K, V)>, DatapathError> {
    let mut all = Vec::new();
    let mut walk = table.walk();
    while let Some(batch) = walk.next_batch()? {
        all.extend(batch.map(|(&key, &value)| (key, value)));
    }
    Ok(all)
}
