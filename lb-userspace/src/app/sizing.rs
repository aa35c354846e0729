//! How large the kernel's tables are made.

use crate::{control, datapath::DatapathConfig, settings::Config};

/// Rings that are replaced at a time: the old ones stay meanwhile. Where more change at once, they
/// do so in turn.
const RINGS_IN_CHANGE: u32 = 32;

/// The usual sizes, or twice what the configuration needs where that is more. Rings are large:
/// they get half as much again as they need.
pub(super) fn size(config: &Config) -> DatapathConfig {
    let needs = control::needs(&config.services, config.node.maglev_table_size);
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
        backends: usual.backends.max(2 * needs.backends),
        services: usual.services.max(2 * needs.services),
        vips: usual.vips.max(2 * vips),
        ring_slots: usual.ring_slots.max(rings),
        load_slots: usual.load_slots.max(2 * needs.loads),
        lists: usual.lists.max(2 * lists),
        ..usual
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

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
