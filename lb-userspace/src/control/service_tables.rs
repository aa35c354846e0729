//! Computes one service's entries in the kernel's tables.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_common::abi::{self, Address, ListKey, QuicKey, RangeKey, ServerId, Vip, VipKey, path};

use super::{
    access, entry,
    error::ControlError,
    family::AddressFamily,
    ids::stable_ids::StableIds,
    ports::prefixes,
    rings::{maglev::RingMember, regions, ring_spec::RingSpec},
};
use crate::{
    fleet::{Backend, RunningService},
    service::{Path, Service},
    settings::{Encap, Geography},
    tables::Source,
};

/// All entries of one service, computed except for the rings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServiceTables {
    pub(crate) addresses: Vec<Address>,
    pub(crate) vips: Vec<(VipKey, Vip)>,
    pub(crate) lists: Vec<(ListKey, u32)>,
    pub(crate) ranges: Vec<(RangeKey, Vip)>,
    /// The backend that each QUIC connection ID leads to.
    pub(crate) quic_ids: Vec<(QuicKey, u32)>,
    pub(crate) services: Vec<(u32, SteeredService)>,
    pub(crate) backends: Vec<(u32, BackendEntry)>,
    pub(crate) claims: Vec<IdClaim>,
}

/// An entry of `SERVICES` and its ring.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SteeredService {
    pub service: abi::Service,
    pub spec: Arc<RingSpec>,
}

/// An entry of `BACKENDS` and its status in `REACH`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BackendEntry {
    pub backend: abi::Backend,
    pub status: u32,
}

/// A claim of a service's tables to [`StableIds`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum IdClaim {
    Service(Arc<str>, AddressFamily),
    Backend(Arc<str>, SocketAddr, u32),
    Load(SocketAddr),
}

impl IdClaim {
    pub(crate) fn release(&self, ids: &mut StableIds) {
        match self {
            Self::Service(service, family) => ids.release_service(service, *family),
            Self::Backend(service, server, _) => ids.release_backend(service, *server),
            Self::Load(server) => ids.release_load(*server),
        }
    }
}

/// The inputs of a service's tables, beside the service.
pub(crate) struct ServiceTablesBuilder<'a> {
    /// The local address towards each server that the host's routing would use.
    pub(crate) sources: &'a HashMap<IpAddr, Source>,
    pub(crate) maglev_size: Option<u32>,
    pub(crate) encap: &'a Encap,
    pub(crate) geography: &'a Geography,
    pub(crate) ids: &'a mut StableIds,
}

impl ServiceTablesBuilder<'_> {
    /// Builds the tables of `running`, which hold their claims until these are released.
    ///
    /// A service has a ring for each family of its addresses: over the servers of that family or,
    /// through a tunnel, over all. Servers that are down, drain, have no weight or no source
    /// address get no slots.
    pub(crate) fn build(
        &mut self,
        running: &RunningService,
    ) -> Result<ServiceTables, ControlError> {
        let mut tables = ServiceTables::default();
        let done = self.fill(&mut tables, running);
        if done.is_err() {
            tables.claims.iter().for_each(|claim| claim.release(self.ids));
        }
        done.map(|()| tables)
    }

    fn fill(
        &mut self,
        tables: &mut ServiceTables,
        running: &RunningService,
    ) -> Result<(), ControlError> {
        let service = &running.service;
        tables.addresses.extend(service.addresses.iter().copied().map(Address::of));
        for backend in &running.backends {
            let server = backend.server.address;
            let slot = self.ids.claim_load(server)?;
            tables.claims.push(IdClaim::Load(server));
            debug_assert_eq!(slot, backend.slot, "the fleet was made from these slots");
        }
        let backend_ids =
            if service.is_steered() { self.place(tables, running)? } else { Vec::new() };
        for family in AddressFamily::ALL {
            if service.addresses.iter().any(|&address| AddressFamily::of(address) == family) {
                self.serve(tables, running, family, &backend_ids)?;
            }
        }
        Ok(())
    }

    /// Adds every server to `BACKENDS`.
    fn place(
        &mut self,
        tables: &mut ServiceTables,
        running: &RunningService,
    ) -> Result<Vec<u32>, ControlError> {
        let service = &running.service;
        let mut backend_ids = Vec::with_capacity(running.backends.len());
        for backend in &running.backends {
            let server = backend.server.address;
            let id = self.ids.backend(&service.name, server)?;
            tables.claims.push(IdClaim::Backend(service.name.clone(), server, id));
            backend_ids.push(id);
            // Without a known source address towards it, a server gets no steered flows.
            if let Some(&source) = self.sources.get(&server.ip()) {
                let status = entry::status_of(backend);
                let backend = entry::backend(backend, &service.steering, source, self.encap);
                tables.backends.push((id, BackendEntry { backend, status }));
            }
        }
        Ok(backend_ids)
    }

    /// Adds the VIPs of a family, and what they lead to.
    fn serve(
        &mut self,
        tables: &mut ServiceTables,
        running: &RunningService,
        family: AddressFamily,
        backend_ids: &[u32],
    ) -> Result<(), ControlError> {
        let service = &running.service;
        let mut steer = Vip { service: 0, path: path::STEER };
        if service.is_steered() {
            steer.service = self.ids.service(&service.name, family)?;
            tables.claims.push(IdClaim::Service(service.name.clone(), family));
            let spec = Arc::new(self.spec(running, family, backend_ids));
            let named = quic_ids(running, steer.service, &spec);
            let placed = |id| tables.backends.iter().any(|placed| placed.0 == id);
            tables.quic_ids.extend(named.filter(|&(_, id)| placed(id)));
            let entry = entry::service(service, family);
            tables.services.push((steer.service, SteeredService { service: entry, spec }));
            tables.lists.extend(access::lists(&service.steering.access, steer.service, family));
        }
        tables.declare(service, family, steer);
        Ok(())
    }

    fn spec(
        &self,
        running: &RunningService,
        family: AddressFamily,
        backend_ids: &[u32],
    ) -> RingSpec {
        let steering = &running.service.steering;
        let fits = |backend: &Backend| {
            steering.forwarding.is_tunnel()
                || AddressFamily::of(backend.server.address.ip()) == family
        };
        let backends =
            running.backends.iter().zip(backend_ids).filter(|(backend, _)| fits(backend));
        let member = |backend: &Backend| RingMember {
            server: backend.server.address,
            weight: backend.server.weight,
            up: backend.is_open() && self.sources.contains_key(&backend.server.address.ip()),
        };
        let rank = |backend: &Backend| self.geography.rank(backend.server.region.as_deref());
        let members = backends.map(|(backend, &id)| (rank(backend), member(backend), id));
        let mut members: Vec<_> = members.collect();
        let mut farther = regions::part(&mut members);
        if !running.service.may_overflow() {
            farther.clear();
        }
        let (members, ids) = members.into_iter().map(|(_, member, id)| (member, id)).unzip();
        RingSpec { strategy: steering.strategy, size: self.maglev_size, members, ids, farther }
    }
}

impl ServiceTables {
    /// Adds the ports of a family: single ones as they are, ranges as prefixes.
    fn declare(&mut self, service: &Service, family: AddressFamily, steer: Vip) {
        let addresses =
            service.addresses.iter().filter(|&&address| AddressFamily::of(address) == family);
        let addresses: Vec<Address> = addresses.copied().map(Address::of).collect();
        let protocol = u32::from(service.protocol.number());
        for port in &service.ports {
            let vip = match port.path() {
                Path::Steer => steer,
                Path::Proxy => Vip { service: 0, path: path::PROXY },
            };
            if port.port == port.end_port {
                let number = port.port.get().to_be_bytes();
                let key = |&address| (VipKey::new(address, number, protocol), vip);
                self.vips.extend(addresses.iter().map(key));
                continue;
            }
            for (first, bits) in prefixes(port.numbers()) {
                let first = first.to_be_bytes();
                let key = |&address| (RangeKey::prefix(address, protocol, first, bits), vip);
                self.ranges.extend(addresses.iter().map(key));
            }
        }
    }
}

/// Returns the servers of `spec` that QUIC connection IDs lead to, including draining ones: a
/// draining server keeps its connections, wherever their clients go.
fn quic_ids<'a>(
    running: &'a RunningService,
    service: u32,
    spec: &'a RingSpec,
) -> impl Iterator<Item = (QuicKey, u32)> + 'a {
    running.backends.iter().filter_map(move |backend| {
        let id = ServerId::of(backend.server.server_id.as_deref()?)?;
        let address = backend.server.address;
        let place = spec.members.iter().position(|member| member.server == address)?;
        Some((QuicKey { service, pad: 0, id }, spec.ids[place]))
    })
}
