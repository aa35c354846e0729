//! The sizes of the kernel's tables.

use crate::{control, datapath::DatapathConfig, settings::Config};

/// Rings that are replaced at the same time: the old ones stay meanwhile. Further ones are replaced
/// after those.
const RINGS_IN_CHANGE: u32 = 32;

/// Returns the default sizes, or twice what the configuration needs if that is more. Rings are
/// large: they get half as much again as they need.
pub(crate) fn size(config: &Config) -> DatapathConfig {
    let needs = control::required_capacity(&config.services, config.node.maglev_table_size);
    let services = config.services.iter();
    let vips = services.map(|service| {
        let entries = service.ports.iter().map(|port| control::prefixes(port.numbers()).count());
        service.addresses.len() * entries.sum::<usize>()
    });
    let vips = vips.sum::<usize>() as u32;
    let large = config.node.maglev_table_size.unwrap_or(control::USUAL_RING);
    let rings = needs.rings + needs.rings / 2 + RINGS_IN_CHANGE * large;
    let access = config.services.iter().map(|service| &service.steering.access);
    let lists = access.map(|access| access.allow.len() + access.deny.len()).sum::<usize>() as u32;
    let usual = DatapathConfig::from(&config.node);
    DatapathConfig {
        backends: usual.backends.max(rounded(2 * needs.backends)),
        services: usual.services.max(rounded(2 * needs.services)),
        vips: usual.vips.max(rounded(2 * vips)),
        ring_slots: usual.ring_slots.max(rounded(rings)),
        load_slots: usual.load_slots.max(rounded(2 * needs.loads)),
        lists: usual.lists.max(rounded(2 * lists)),
        ..usual
    }
}

/// Rounds up to a multiple of an eighth of the next power of two. Otherwise every additional server
/// would make the next start create its tables anew.
fn rounded(size: u32) -> u32 {
    let step = (size.next_power_of_two() / 8).max(1);
    size.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn one_server_more_fits_in_the_same_tables() {
        assert_eq!([80_000, 80_002, 81_920].map(rounded), [81_920; 3]);
        assert_eq!(rounded(81_922), 98_304);
        for size in 0..100_000 {
            let rounded = rounded(size);
            assert!(rounded >= size && rounded <= size + size / 4, "{size}: {rounded}");
        }
    }

    #[test]
    fn every_documented_size_arrives() {
        let text = "[node]\ninterfaces = ['eth0']\nmax_flows = 1000\nmax_half_open = 2000\n\
                    max_fragments = 3000\nmax_affinities = 4000\nmax_sources = 5000\n\
                    source_ports = '6000-7000'\n";
        let size = size(&config::parse(Path::new("lb.toml"), text).unwrap());
        assert_eq!((size.max_flows, size.max_half_open), (1000, 2000));
        assert_eq!((size.fragmented, size.affinities, size.sources), (3000, 4000, 5000));
        assert_eq!(size.source_ports, 6000..=7000);
    }
}
