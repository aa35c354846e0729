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
        let room = u64::from(self.rings.max_entries()?);
        for (service, ring) in entries(&self.current_rings)? {
            let end = u64::from(ring.offset()) + u64::from(ring.length());
            if ring != Ring::default() && end < room {
                contents.push(self.ring(ring, room as u32)?);
                contents.push(Command::SetRing { service, ring });
            }
        }
        contents
            .extend(entries(&self.vips)?.into_iter().map(|(key, vip)| Command::SetVip(key, vip)));
        for key in self.ranges.keys()? {
            if let Some(vip) = self.ranges.lookup(&key)? {
                contents.push(Command::SetRange(key, vip));
            }
        }
        let quic_ids = entries(&self.quic_ids)?.into_iter();
        contents.extend(quic_ids.map(|(key, backend)| Command::SetQuicId(key, backend)));
        let addresses = entries(&self.addresses)?.into_iter();
        contents.extend(addresses.map(|(address, flags)| Command::SetAddress(address, flags)));
        Ok(contents)
    }

    /// The ring's slots, the number of members and the members.
    fn ring(&self, ring: Ring, room: u32) -> Result<Command, DatapathError> {
        let word = |at| self.rings.lookup(&at).map(Option::unwrap_or_default);
        let (offset, count) = (ring.offset(), ring.offset() + ring.length());
        let end = (count + 1).saturating_add(word(count)?).min(room);
        let words = (offset..end).map(word).collect::<Result<_, _>>()?;
        Ok(Command::WriteRing { offset, recipe: None, words })
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
