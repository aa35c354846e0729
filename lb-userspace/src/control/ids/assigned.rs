//! The assignment of ids, as one daemon leaves it to the next.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::control::family::AddressFamily;

/// The holder of each id, as an earlier daemon knew it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdAssignment {
    pub(crate) services: Vec<(String, AddressFamily, u32)>,
    pub(crate) backends: Vec<(String, SocketAddr, u32)>,
    pub(crate) loads: Vec<(SocketAddr, u32)>,
}

/// An id that was given to a holder, or taken back: `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Service(u32, Option<(String, AddressFamily)>),
    Backend(u32, Option<(String, SocketAddr)>),
    Load(u32, Option<SocketAddr>),
}

impl IdAssignment {
    /// Returns the number of holders.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.services.len() + self.backends.len() + self.loads.len()
    }

    /// Returns the assignment after `changes`. Applying the same changes again has no effect.
    #[must_use]
    pub fn after(self, changes: impl IntoIterator<Item = Change>) -> Self {
        let services = self.services.into_iter().map(|(name, family, id)| (id, (name, family)));
        let backends = self.backends.into_iter().map(|(name, server, id)| (id, (name, server)));
        let loads = self.loads.into_iter().map(|(server, id)| (id, server));
        let mut services: BTreeMap<_, _> = services.collect();
        let mut backends: BTreeMap<_, _> = backends.collect();
        let mut loads: BTreeMap<_, _> = loads.collect();
        for change in changes {
            match change {
                Change::Service(id, holder) => set(&mut services, id, holder),
                Change::Backend(id, holder) => set(&mut backends, id, holder),
                Change::Load(id, holder) => set(&mut loads, id, holder),
            }
        }
        let services = services.into_iter().map(|(id, (name, family))| (name, family, id));
        let backends = backends.into_iter().map(|(id, (name, server))| (name, server, id));
        Self {
            services: services.collect(),
            backends: backends.collect(),
            loads: loads.into_iter().map(|(id, server)| (server, id)).collect(),
        }
    }
}

fn set<K>(holders: &mut BTreeMap<u32, K>, id: u32, holder: Option<K>) {
    match holder {
        Some(holder) => drop(holders.insert(id, holder)),
        None => drop(holders.remove(&id)),
    }
}
