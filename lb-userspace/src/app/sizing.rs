//! How large the kernel's tables are made.

use crate::{control, datapath::DatapathConfig, settings::Config};

/// The usual sizes, or twice what the configuration needs where that is more. Rings get four
/// times their need: while all of them are being replaced, the old ones stay.
pub(super) fn size(config: &Config) -> DatapathConfig {
    let needs = control::needs(&config.services);
    let services = config.services.iter();
    let vips = services.map(|service| service.addresses.len() * service.ports.len());
    let vips = vips.sum::<usize>() as u32;
    let usual = DatapathConfig::from(&config.node);
    DatapathConfig {
        backends: usual.backends.max(2 * needs.backends),
        services: usual.services.max(2 * needs.services),
        vips: usual.vips.max(2 * vips),
        ring_slots: usual.ring_slots.max(4 * needs.rings),
        load_slots: usual.load_slots.max(2 * needs.loads),
        ..usual
    }
}
