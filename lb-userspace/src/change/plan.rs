//! The difference between two configurations as a whole.

use std::{net::SocketAddr, sync::Arc};

use super::{
    services::{self, ServiceChange},
    settings::{self, Effect, SettingChange},
};
use crate::settings::Config;

/// The difference between two configurations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigChange {
    /// In the order of the names.
    pub services: Vec<ServiceChange>,
    pub settings: Vec<SettingChange>,
}

/// Compares the `running` configuration with the `desired` one.
#[must_use]
pub fn plan(running: &Config, desired: &Config) -> ConfigChange {
    ConfigChange {
        services: services::compare(&running.services, &desired.services),
        settings: settings::compare(running, desired),
    }
}

impl ConfigChange {
    /// Returns whether the two configurations are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.settings.is_empty()
    }

    /// Returns the changed settings that a running process cannot take over.
    pub fn needing_restart(&self) -> impl Iterator<Item = &SettingChange> {
        self.settings.iter().filter(|setting| setting.effect == Effect::Restart)
    }

    /// Returns whether a new process must take the running one's place.
    #[must_use]
    pub fn needs_process(&self) -> bool {
        self.settings.iter().any(|setting| setting.effect == Effect::NewProcess)
    }

    /// Returns a sentence for each changed service and setting. `connections` returns the live
    /// connections of a service's server.
    #[must_use]
    pub fn sentences(&self, connections: impl Fn(&Arc<str>, SocketAddr) -> u64) -> Vec<String> {
        let services = self.services.iter().map(|service| service.sentence(&connections));
        services.chain(self.settings.iter().map(SettingChange::sentence)).collect()
    }
}
