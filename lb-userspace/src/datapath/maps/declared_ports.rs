//! The addresses and ports of steered services. Flows to anything else end.

use std::{collections::HashMap, ops::RangeInclusive};

use lb_common::abi::{Address, Flow};

/// How long such flows stay, in ns. Their packets are refused already, so a client that is just
/// sending is told.
const NOTICE: u64 = 2_000_000_000;

/// The declared addresses and ports, kept until no flow to anything else is left.
#[derive(Clone, Debug, Default)]
pub struct DeclaredPorts {
    /// Port ranges by address and IP protocol number.
    ports: HashMap<(Address, u32), Vec<RangeInclusive<u16>>>,
    /// When the declaration was made, as `clock::now` reads it.
    since: u64,
}

impl DeclaredPorts {
    #[must_use]
    pub fn since(now: u64) -> Self {
        Self { ports: HashMap::new(), since: now }
    }

    pub fn add(&mut self, address: Address, protocol: u32, ports: RangeInclusive<u16>) {
        self.ports.entry((address, protocol)).or_default().push(ports);
    }

    /// Returns whether flows to undeclared ports end `now`.
    pub(crate) const fn is_due(&self, now: u64) -> bool {
        now.saturating_sub(self.since) >= NOTICE
    }

    pub(crate) fn has(&self, flow: &Flow) -> bool {
        let port = u16::from_be_bytes(flow.vip_port);
        let ports = self.ports.get(&(flow.vip, flow.protocol));
        ports.is_some_and(|ports| ports.iter().any(|range| range.contains(&port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_of_an_address_and_a_protocol() {
        let address = |last| Address::v4([203, 0, 113, last]);
        let mut declared = DeclaredPorts::since(NOTICE);
        declared.add(address(1), 6, 80..=80);
        declared.add(address(1), 6, 3000..=3999);
        let has = |vip, protocol, port: u16| {
            declared.has(&Flow { vip, protocol, vip_port: port.to_be_bytes(), ..Flow::default() })
        };
        assert!(has(address(1), 6, 80) && has(address(1), 6, 3999));
        assert!(!has(address(1), 6, 81) && !has(address(1), 17, 80) && !has(address(2), 6, 80));
        assert!(!declared.is_due(NOTICE) && declared.is_due(2 * NOTICE));
    }
}
