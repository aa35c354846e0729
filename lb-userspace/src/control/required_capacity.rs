//! Computes the capacity that a configuration requires of the kernel's tables.

use std::{collections::HashSet, sync::Arc};

use super::{
    family::AddressFamily,
    rings::{maglev::RingMember, ring_spec::RingSpec},
};
use crate::{
    service::{Server, Service},
    tables::Capacity,
};

/// Returns the capacity that `services` require. [`Capacity`] counts a ring once, although it needs
/// its room twice while it is being replaced.
#[must_use]
pub fn required_capacity(services: &[Arc<Service>], maglev_size: Option<u32>) -> Capacity {
    let servers = services.iter().flat_map(|service| &service.pool.servers);
    let addresses: HashSet<_> = servers.map(|server| server.address).collect();
    let mut needs = Capacity { services: 0, backends: 0, loads: addresses.len() as u32, rings: 0 };
    for service in services.iter().filter(|service| service.is_steered()) {
        needs.backends += service.pool.servers.len() as u32;
        for family in AddressFamily::ALL {
            if service.addresses.iter().any(|&address| AddressFamily::of(address) == family) {
                needs.services += 1;
                let spec = spec(service, family, maglev_size);
                needs.rings += spec.room(service.may_overflow());
            }
        }
    }
    needs
}

fn spec(service: &Service, family: AddressFamily, size: Option<u32>) -> RingSpec {
    let steering = &service.steering;
    let is_tunnel = steering.forwarding.is_tunnel();
    let fits = |server: &&Server| is_tunnel || AddressFamily::of(server.address.ip()) == family;
    let servers = service.pool.servers.iter().filter(fits);
    let member =
        |server: &Server| RingMember { server: server.address, weight: server.weight, up: true };
    let members = servers.map(member).collect();
    RingSpec { strategy: steering.strategy, size, members, ids: Vec::new(), farther: Vec::new() }
}

impl Service {
    /// Returns whether flows may go to another region because a nearer one is full.
    pub(crate) fn may_overflow(&self) -> bool {
        let mut servers = self.pool.servers.iter().map(|server| &server.region);
        let first = servers.next();
        self.steering.limits.hard.is_some() && servers.any(|region| Some(region) != first)
    }
}
