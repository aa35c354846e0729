//! How much room a configuration takes in the kernel's tables.

use std::{collections::HashSet, sync::Arc};

use super::{
    desired::Family,
    maglev::{self, Member},
};
use crate::{
    service::{Server, Service},
    tables::Capacity,
};

/// What `services` take. A ring needs its room twice while it is being replaced: [`Capacity`]
/// counts it once.
#[must_use]
pub fn needs(services: &[Arc<Service>]) -> Capacity {
    let servers = services.iter().flat_map(|service| &service.pool.servers);
    let addresses: HashSet<_> = servers.map(|server| server.address).collect();
    let mut needs = Capacity { services: 0, backends: 0, loads: addresses.len() as u32, rings: 0 };
    for service in services.iter().filter(|service| service.is_steered()) {
        for family in Family::ALL {
            let members = members(service, family);
            needs.services += 1;
            needs.backends += members.len() as u32;
            needs.rings += maglev::length(&members) + 1 + members.len() as u32;
        }
    }
    needs
}

fn members(service: &Service, family: Family) -> Vec<Member> {
    let servers = service.pool.servers.iter();
    let servers = servers.filter(|server| Family::of(server.address.ip()) == family);
    let member =
        |server: &Server| Member { server: server.address, weight: server.weight, up: true };
    servers.map(member).collect()
}
