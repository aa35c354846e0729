//! The idle timeouts of flows, by service: input of the sweeper.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::expiry::Timeouts;
use crate::datapath::maps::declared_ports::DeclaredPorts;
use crate::settings::FlowTimeouts;

/// The timeouts of the node and of services that differ from it. Clones share them; a sweep uses
/// what is set when it begins.
#[derive(Clone)]
pub struct Lifetimes {
    table: Arc<ArcSwap<LifetimeTable>>,
    declared: Arc<ArcSwapOption<DeclaredPorts>>,
}

/// Timeouts by service id: one lookup by index for each of millions of flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LifetimeTable {
    /// The node's timeouts come first.
    kinds: Vec<Timeouts>,
    /// Index into `kinds`, by service id. Services beyond the end have the node's timeouts.
    of: Vec<u32>,
}

impl Lifetimes {
    pub(crate) fn new(node: FlowTimeouts) -> Self {
        let table = Arc::new(ArcSwap::from_pointee(LifetimeTable::new(node, [])));
        Self { table, declared: Arc::default() }
    }

    /// From the next sweep on, flows of `services` (indices into SERVICES) have these timeouts, and
    /// all others those of the node.
    pub fn set(&self, node: FlowTimeouts, services: impl IntoIterator<Item = (u32, FlowTimeouts)>) {
        let table = LifetimeTable::new(node, services);
        if **self.table.load() != table {
            self.table.store(Arc::new(table));
        }
    }

    /// From the next sweep on, flows to undeclared ports end, until there are none left.
    pub fn declare(&self, declared: DeclaredPorts) {
        self.declared.store(Some(Arc::new(declared)));
    }

    pub(crate) fn declared(&self) -> Option<Arc<DeclaredPorts>> {
        self.declared.load_full()
    }

    /// Notes that every flow is to a declared port, now and later.
    pub(crate) fn are_all_declared(&self) {
        self.declared.store(None);
    }

    pub(crate) fn table(&self) -> Arc<LifetimeTable> {
        self.table.load_full()
    }
}

impl LifetimeTable {
    fn new(node: FlowTimeouts, services: impl IntoIterator<Item = (u32, FlowTimeouts)>) -> Self {
        let mut table = Self { kinds: vec![node.into()], of: Vec::new() };
        for (id, timeouts) in services {
            let (id, timeouts) = (id as usize, Timeouts::from(timeouts));
            let known = table.kinds.iter().position(|kind| *kind == timeouts);
            let kind = known.unwrap_or_else(|| {
                table.kinds.push(timeouts);
                table.kinds.len() - 1
            });
            if kind != 0 {
                table.of.resize(table.of.len().max(id + 1), 0);
                table.of[id] = kind as u32;
            }
        }
        table
    }

    pub(crate) fn of(&self, service: u32) -> &Timeouts {
        &self.kinds[self.of.get(service as usize).map_or(0, |&kind| kind as usize)]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn services_differ_from_the_node() {
        let node = FlowTimeouts::default();
        let short = FlowTimeouts { udp: Duration::from_secs(1), ..node };
        let lifetimes = Lifetimes::new(node);
        lifetimes.set(node, [(3, short), (1, node), (7, short)]);
        let table = lifetimes.table();
        assert_eq!(table.kinds.len(), 2);
        let is_short = |service| *table.of(service) == Timeouts::from(short);
        assert!(is_short(3) && is_short(7));
        assert!((0..3).chain(4..7).chain(8..20).all(|service| !is_short(service)));
        lifetimes.set(short, []);
        assert_eq!(*lifetimes.table().of(1), short.into());
    }
}
