//! Finding out from the tables who holds which index, where the notes of it are lost.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use lb_common::abi::{self, Address, VipKey, path};

use super::Slots;
use crate::{
    control::{Tables, desired::Family},
    load::LoadSlot,
    service::Service,
    tables::Capacity,
};

impl Slots {
    /// Goes on with what `tables` say of `services`: a service is known by its addresses and ports,
    /// a server as a member by the service's ring, and its count by its own address. What belongs
    /// to nobody that is known, but may be spoken of by flows, is given to nobody.
    #[must_use]
    pub fn rebuild(
        capacity: Capacity,
        tables: &Tables,
        services: &[Arc<Service>],
        has_connections: impl Fn(LoadSlot) -> bool,
    ) -> Self {
        let mut slots = Self::new(capacity);
        for service in services.iter().filter(|service| service.is_steered()) {
            for family in Family::ALL {
                slots.rebuild_service(tables, service, family);
            }
        }
        for (&id, backend) in &tables.backends {
            slots.backends.reserve(id);
            slots.loads.resume(server(backend), backend.load);
        }
        tables.current_rings.keys().for_each(|&id| slots.services.reserve(id));
        let busy = (0..capacity.loads).filter(|&id| has_connections(LoadSlot(id)));
        busy.for_each(|id| slots.loads.reserve(id));
        slots
    }

    fn rebuild_service(&mut self, tables: &Tables, service: &Service, family: Family) {
        let addresses = service.addresses.iter().filter(|&&ip| Family::of(ip) == family);
        let protocol = u32::from(service.protocol.number());
        let mut keys = addresses.flat_map(|&ip| {
            let ports = service.ports.iter().map(|port| port.port.get().to_be_bytes());
            ports.map(move |port| VipKey::new(Address::of(ip), port, protocol))
        });
        let vip = keys.find_map(|key| tables.vips.get(&key).filter(|vip| vip.path == path::STEER));
        let Some(vip) = vip else { return };
        self.services.resume((service.name.clone(), family), vip.service);
        for id in tables.ring(vip.service).iter().collect::<BTreeSet<_>>() {
            if let Some(backend) = tables.backends.get(id) {
                self.backends.resume((service.name.clone(), server(backend)), *id);
            }
        }
    }
}

fn server(backend: &abi::Backend) -> SocketAddr {
    let address = IpAddr::V6(Ipv6Addr::from(backend.address.bytes())).to_canonical();
    SocketAddr::new(address, u16::from_be_bytes(backend.port))
}
