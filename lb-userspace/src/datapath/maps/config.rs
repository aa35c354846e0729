//! The configuration of the kernel object: sizes of its maps, and constants.

use std::ops::RangeInclusive;

use lb_common::abi::{RING_WORDS, WAYS, globals, maps};

use crate::settings::Node;

/// The capacities of the kernel's tables, and the program's constants. All of them are fixed while
/// the program is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatapathConfig {
    /// Established flows. The table has at least twice as many slots, so that buckets are at most
    /// half full. Two slots of 176 bytes and their share of ANSWERS make 370 bytes a flow where
    /// this is a power of two, and up to twice that where it is just above one.
    pub max_flows: u32,
    /// Half-open flows, which cost the same. Beyond that, the oldest are evicted.
    pub max_half_open: u32,
    /// Source ports of steered flows. Not empty.
    pub source_ports: RangeInclusive<u16>,
    /// Backends. A server counts once for each service that steers to it.
    pub backends: u32,
    pub services: u32,
    /// VIPs: combinations of address, port and protocol. The announced addresses and the prefixes
    /// of port ranges get the same capacity.
    pub vips: u32,
    /// Ring slots of all services together, including old and new rings during a change.
    pub ring_slots: u32,
    /// Packets with fragments still to come; some 150 bytes each. Beyond that, those with the least
    /// recent fragments are dropped.
    pub fragmented: u32,
    /// Sources with a measured rate, and as many known sources; 80 to 100 bytes each. Beyond that,
    /// the least recently seen ones are forgotten.
    pub sources: u32,
    /// Prefixes that services allow or deny. Only those in use take memory.
    pub lists: u32,
    /// Distinct backend addresses and ports.
    pub load_slots: u32,
    /// Sources with an affinity, of all services. Beyond that, the least recently seen ones lose
    /// theirs.
    pub affinities: u32,
}

impl Default for DatapathConfig {
    fn default() -> Self {
        Self {
            max_flows: 262_144,
            max_half_open: half_open_beside(262_144),
            source_ports: 2048..=32767,
            backends: 65_536,
            services: 16_384,
            vips: 65_536,
            ring_slots: 1 << 20,
            fragmented: 16_384,
            sources: 65_536,
            lists: 1 << 20,
            load_slots: 65_536,
            affinities: 65_536,
        }
    }
}

impl From<&Node> for DatapathConfig {
    fn from(node: &Node) -> Self {
        Self {
            max_flows: node.max_flows,
            max_half_open: node.max_half_open,
            source_ports: node.source_ports.clone(),
            fragmented: node.max_fragments,
            sources: node.max_sources,
            affinities: node.max_affinities,
            ..Self::default()
        }
    }
}

/// Returns the capacity for half-open flows beside so many established ones.
const fn half_open_beside(max_flows: u32) -> u32 {
    const LEAST: u32 = 1024;
    let share = max_flows / 8;
    if share > LEAST { share } else { LEAST }
}

/// Returns the number of buckets for so many flows, at most half full: a power of two.
fn buckets(flows: u32) -> u32 {
    (flows.div_ceil(WAYS / 2)).clamp(1, MOST_BUCKETS).next_power_of_two()
}

/// Entry numbers have 31 bits.
const MOST_BUCKETS: u32 = (1 << 31) / WAYS / 2;

impl DatapathConfig {
    fn flow_buckets(&self) -> u32 {
        buckets(self.max_flows)
    }

    fn pending_buckets(&self) -> u32 {
        buckets(self.max_half_open)
    }

    /// Returns the number of buckets with room for an answer to every entry.
    fn answer_buckets(&self) -> u32 {
        (self.flow_buckets() + self.pending_buckets()).next_power_of_two()
    }

    /// Returns `max_entries` of every map whose size is configurable.
    pub(crate) fn sizes(&self) -> [(&'static str, u32); 25] {
        [
            (maps::FLOWS, self.flow_buckets() * WAYS),
            (maps::FLOW_SLOTS, self.flow_buckets()),
            (maps::PENDING, self.pending_buckets() * WAYS),
            (maps::PENDING_SLOTS, self.pending_buckets()),
            (maps::ANSWERS, self.answer_buckets()),
            (maps::VIPS, self.vips),
            (maps::ADDRESSES, self.vips),
            (maps::RANGES, self.vips),
            // Each service has one per family.
            (maps::QUIC_IDS, self.backends.saturating_mul(2)),
            (maps::SERVICES, self.services),
            (maps::CURRENT_RINGS, self.services),
            (maps::RINGS, self.ring_slots.div_ceil(RING_WORDS)),
            (maps::BACKENDS, self.backends),
            (maps::REACH, self.backends),
            (maps::OPENED, self.backends),
            (maps::EXHAUSTED, self.backends),
            (maps::FRAGMENTS, self.fragmented),
            (maps::METERS, self.services),
            (maps::LISTS, self.lists),
            (maps::SOURCES, self.sources),
            (maps::KNOWN, self.sources),
            (maps::AFFINITY, self.affinities),
            (maps::TURNS, self.services),
            (maps::LOAD, self.load_slots),
            (maps::PORTS, self.load_slots),
        ]
    }

    /// Returns the `u32`s among [`globals`].
    pub(crate) fn globals(&self) -> [(&'static str, u32); 5] {
        [
            (globals::SOURCE_PORT_FIRST, u32::from(*self.source_ports.start())),
            (globals::SOURCE_PORT_COUNT, self.port_count()),
            (globals::FLOW_MASK, self.flow_buckets() - 1),
            (globals::PENDING_MASK, self.pending_buckets() - 1),
            (globals::ANSWER_MASK, self.answer_buckets() - 1),
        ]
    }

    fn port_count(&self) -> u32 {
        let (first, last) = (*self.source_ports.start(), *self.source_ports.end());
        (u32::from(last) + 1).saturating_sub(u32::from(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_the_port_range_count() {
        let ports = |source_ports| DatapathConfig { source_ports, ..DatapathConfig::default() };
        assert_eq!(ports(2048..=32767).port_count(), 30720);
        assert_eq!(ports(1..=u16::MAX).port_count(), 65535);
        assert_eq!(ports(7..=7).port_count(), 1);
    }

    #[test]
    fn buckets_are_half_full_at_most() {
        let sized = |max_flows, max_half_open| {
            let config = DatapathConfig { max_flows, max_half_open, ..DatapathConfig::default() };
            (config.flow_buckets(), config.pending_buckets(), config.answer_buckets())
        };
        assert_eq!(sized(1, 1), (1, 1, 2));
        assert_eq!(sized(262_144, 32_768), (65_536, 8192, 131_072));
        assert_eq!(sized(262_145, 32_768), (131_072, 8192, 262_144));
        for flows in [1, 4, 5, 1000, 1 << 20, 67_108_864] {
            assert!(buckets(flows) * WAYS >= 2 * flows);
            assert!(buckets(flows) * WAYS < 4 * flows.max(4));
        }
    }

    #[test]
    fn every_size_is_some_tables() {
        let config = DatapathConfig {
            max_flows: 1 << 12,
            max_half_open: 1 << 11,
            source_ports: 2048..=4095,
            backends: 1,
            services: 2,
            vips: 3,
            ring_slots: 4,
            fragmented: 5,
            sources: 6,
            lists: 7,
            load_slots: 8,
            affinities: 9,
        };
        let sizes = config.sizes();
        let size = |name| sizes.iter().find(|entry| entry.0 == name).unwrap().1;
        assert_eq!((size(maps::FLOWS), size(maps::PENDING)), (1 << 13, 1 << 12));
        let tables = [maps::BACKENDS, maps::SERVICES, maps::VIPS, maps::RINGS, maps::FRAGMENTS];
        assert_eq!(tables.map(size), [1, 2, 3, 2, 5]);
        let tables = [maps::SOURCES, maps::KNOWN, maps::LISTS, maps::LOAD, maps::AFFINITY];
        assert_eq!(tables.map(size), [6, 6, 7, 8, 9]);
    }

    #[test]
    fn half_open_flows_have_an_eighth() {
        assert_eq!(half_open_beside(262_144), 32_768);
        assert_eq!(half_open_beside(100), 1024);
    }
}
