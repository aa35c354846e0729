//! The kernel program, loaded as the daemon loads it.

use lb::{
    datapath::{Datapath, DatapathConfig},
    settings::FlowTimeouts,
};

/// The defaults.
#[must_use]
pub fn timeouts() -> FlowTimeouts {
    FlowTimeouts::default()
}

/// Small tables: tests run beside each other.
#[must_use]
pub fn small() -> DatapathConfig {
    DatapathConfig {
        max_flows: 4096,
        max_half_open: 1024,
        backends: 64,
        services: 16,
        vips: 64,
        ring_slots: 8192,
        load_slots: 1000,
        ..DatapathConfig::default()
    }
}

/// Panics with the reason where it cannot.
#[must_use]
pub fn load(config: &DatapathConfig) -> Datapath {
    match Datapath::load(config, timeouts()) {
        Ok(datapath) => datapath,
        Err(error) => panic!("loading the kernel object: {error}"),
    }
}
