//! How much room a configuration takes in the kernel's tables.

use std::{collections::HashSet, sync::Arc};

use super::{
    family::Family,
    rings::{maglev::RingMember, spec::Recipe},
};
use crate::{
    service::{Server, Service},
    tables::Capacity,
};

/// What `services` take. A ring needs its room twice while it is being replaced: [`Capacity`]
/// counts it once.
#[must_use]
pub fn needs(services: &[Arc<Service>], maglev_size: Option<u32>) -> Capacity {
    let servers = services.iter().flat_map(|service| &service.pool.servers);
    let addresses: HashSet<_> = servers.map(|server| server.address).collect();
    let mut needs = Capacity { services: 0, backends: 0, loads: addresses.len() as u32, rings: 0 };
    for service in services.iter().filter(|service| service.is_steered()) {
        needs.backends += service.pool.servers.len() as u32;
        for family in Family::ALL {
            if service.addresses.iter().any(|&address| Family::of(address) == family) {
                needs.services += 1;
                let recipe = recipe(service, family, maglev_size);
                needs.rings += recipe.room(service.may_overflow());
            }
        }
    }
    needs
}

fn recipe(service: &Service, family: Family, size: Option<u32>) -> Recipe {
    let steering = &service.steering;
    let is_tunnel = steering.forwarding.is_tunnel();
    let fits = |server: &&Server| is_tunnel || Family::of(server.address.ip()) == family;
    let servers = service.pool.servers.iter().filter(fits);
    let member =
        |server: &Server| RingMember { server: server.address, weight: server.weight, up: true };
    let members = servers.map(member).collect();
    Recipe { strategy: steering.strategy, size, members, ids: Vec::new(), farther: Vec::new() }
}

impl Service {
    /// Whether flows may go to another region because a nearer one is full.
    pub(crate) fn may_overflow(&self) -> bool {
        let mut servers = self.pool.servers.iter().map(|server| &server.region);
        let first = servers.next();
        self.steering.limits.hard.is_some() && servers.any(|region| Some(region) != first)
    }
}
