//! What the kernel's tables should hold, given the fleet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_common::abi::{self, Address, Vip, VipKey, path};

use super::{Error, Member, Slots, populate};
use crate::{
    fleet::{Backend, Fleet, RunningService},
    service::Path,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// What the kernel's tables should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// All addresses of all services.
    pub addresses: BTreeSet<Address>,
    pub vips: BTreeMap<VipKey, Vip>,
    /// Backend id by slot, for each service id. Empty: nobody to take a new flow.
    pub services: BTreeMap<u32, Vec<u32>>,
    /// Servers of steered services, up or not.
    pub backends: BTreeMap<u32, abi::Backend>,
    /// Servers that `sources` did not know: they get no steered flows.
    pub unroutable: BTreeSet<SocketAddr>,
}

/// Computes the tables for `fleet`. `sources` gives, for each server's address, the address of
/// ours that the host's routing would use towards it.
///
/// A service has a ring for each family of its addresses, over its servers of that family: NAT
/// does not translate between families. Servers that are down, without a weight or without a
/// source address get no slots.
pub fn desire(
    fleet: &Fleet,
    sources: &HashMap<IpAddr, IpAddr>,
    slots: &mut Slots,
) -> Result<Desired, Error> {
    let mut desired = Desired::default();
    for running in &fleet.services {
        let addresses = &running.service.addresses;
        desired.addresses.extend(addresses.iter().copied().map(Address::of));
        for backend in &running.backends {
            let slot = slots.load(backend.server.address)?;
            debug_assert_eq!(slot, backend.slot, "the fleet was made from these slots");
        }
        for family in Family::ALL {
            desired.add(running, family, sources, slots)?;
        }
    }
    Ok(desired)
}

impl Desired {
    fn add(
        &mut self,
        running: &RunningService,
        family: Family,
        sources: &HashMap<IpAddr, IpAddr>,
        slots: &mut Slots,
    ) -> Result<(), Error> {
        let service = &running.service;
        let addresses =
            || service.addresses.iter().filter(move |&&address| Family::of(address) == family);
        if addresses().next().is_none() {
            return Ok(());
        }
        let mut id = 0;
        if service.is_steered() {
            id = slots.service(&service.name, family)?;
            let ring = self.add_ring(running, family, sources, slots)?;
            self.services.insert(id, ring);
        }
        for port in &service.ports {
            let vip = match port.path() {
                Path::Steer => Vip { service: id, path: path::STEER },
                Path::Proxy => Vip { service: 0, path: path::PROXY },
            };
            let (number, port) = (service.protocol.number(), port.port.get().to_be_bytes());
            let key = |&address| VipKey::new(Address::of(address), port, u32::from(number));
            self.vips.extend(addresses().map(|address| (key(address), vip)));
        }
        Ok(())
    }

    /// Adds the backends of a family and answers their ring.
    fn add_ring(
        &mut self,
        running: &RunningService,
        family: Family,
        sources: &HashMap<IpAddr, IpAddr>,
        slots: &mut Slots,
    ) -> Result<Vec<u32>, Error> {
        let of_family = |backend: &&Arc<Backend>| Family::of(backend.server.address.ip()) == family;
        let (mut members, mut ids) = (Vec::new(), Vec::new());
        for backend in running.backends.iter().filter(of_family) {
            let server = &backend.server;
            let source = sources.get(&server.address.ip());
            let id = slots.backend(&running.service.name, server.address)?;
            ids.push(id);
            members.push(Member {
                server: server.address,
                weight: server.weight,
                up: source.is_some() && backend.is_up(),
            });
            match source {
                Some(&source) => drop(self.backends.insert(id, entry(backend, source))),
                None => drop(self.unroutable.insert(server.address)),
            }
        }
        let owners = populate(&members).into_iter();
        Ok(owners.map(|owner| ids[owner]).collect())
    }
}

fn entry(backend: &Backend, source: IpAddr) -> abi::Backend {
    let address = backend.server.address;
    abi::Backend {
        address: Address::of(address.ip()),
        source: Address::of(source),
        port: address.port().to_be_bytes(),
        load: backend.slot.0,
        weight: backend.server.weight.into(),
        soft_limit: u32::MAX,
        hard_limit: u32::MAX,
        ..abi::Backend::default()
    }
}

#[cfg(test)]
mod tests;
