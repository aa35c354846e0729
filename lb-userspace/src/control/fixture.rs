//! Test fixtures: fleets, and fake kernel tables that check every step.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    sync::Arc,
    time::Instant,
};

use ipnet::IpNet;
use lb_common::abi::{
    Address, Backend as Entry, ListKey, QuicKey, RangeKey, Ring, Service as SteeredService, Vip,
    VipKey, address_flags, path,
};

use super::{ActualTables, ControlError, Desired, StableIds, UpdateContext, plan};
use crate::{
    fleet::{Backend, Fleet, RunningService},
    service::{Handler, Pool, Port, Server, Service, Strategy},
    settings::{Encap, Geography},
    tables::{Capacity, Command, Region, Source, regions},
};

pub(crate) const MAGLEV: Option<u32> = Some(256);
pub(crate) const ENCAP: Encap = Encap {
    source_v4: IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 16),
    source_v6: IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0)), 64),
    gue_port: 6080,
};
/// Room for few rings, so that tests reach its end.
pub(crate) const RINGS: u32 = 5200;

pub(crate) fn port(port: u16, handlers: &[Handler]) -> Port {
    Port { handlers: handlers.to_vec(), ..Port::plain(NonZeroU16::new(port).unwrap()) }
}

pub(crate) fn range(first: u16, last: u16) -> Port {
    Port { end_port: NonZeroU16::new(last).unwrap(), ..port(first, &[]) }
}

pub(crate) fn service(
    name: &str,
    addresses: &[&str],
    ports: Vec<Port>,
    servers: &[&str],
) -> Service {
    let servers = servers.iter().map(|address| Server::at(address.parse().unwrap()));
    Service {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ports,
        ..Service::plain(name, Pool::plain(Strategy::Maglev, servers.collect()))
    }
}

pub(crate) fn run(service: Service, ids: &mut StableIds) -> Arc<RunningService> {
    let backend =
        |server: &Server| Arc::new(Backend::new(server.clone(), ids.load(server.address).unwrap()));
    let backends = service.pool.servers.iter().map(backend).collect();
    Arc::new(RunningService::new(Arc::new(service), backends))
}

pub(crate) const CAPACITY: Capacity =
    Capacity { services: 16, backends: 64, loads: 32, rings: RINGS };

pub(crate) fn ids() -> StableIds {
    StableIds::new(CAPACITY)
}

/// Returns a single source address.
pub(crate) fn one(address: IpAddr) -> Source {
    Source::only(address, 30_720)
}

/// The daemon's state, and the fake kernel's after the commands.
pub(crate) struct TestWorld {
    pub(crate) ids: StableIds,
    pub(crate) fleet: Fleet,
    pub(crate) sources: HashMap<IpAddr, Source>,
    pub(crate) geography: Geography,
    pub(crate) maglev_size: Option<u32>,
    pub(crate) silent: bool,
    pub(crate) revision: u64,
    pub(crate) desired: Desired,
    pub(crate) actual: ActualTables,
    pub(crate) kernel: FakeKernel,
    pub(crate) now: Instant,
}

impl TestWorld {
    pub(crate) fn new() -> Self {
        Self {
            ids: ids(),
            fleet: Fleet::default(),
            sources: HashMap::new(),
            geography: Geography::default(),
            maglev_size: MAGLEV,
            silent: false,
            revision: 1,
            desired: Desired::default(),
            actual: ActualTables::new(RINGS),
            kernel: FakeKernel::default(),
            now: Instant::now(),
        }
    }

    /// Returns a world with these services and a source towards each server.
    pub(crate) fn of(services: Vec<Service>) -> Self {
        let mut world = Self::new();
        for service in services {
            for server in &service.pool.servers {
                let source = if server.address.is_ipv4() { "10.0.0.254" } else { "fd00::fe" };
                world.sources.insert(server.address.ip(), one(source.parse().unwrap()));
            }
            let running = run(service, &mut world.ids);
            world.fleet.services.push(running);
        }
        world
    }

    pub(crate) fn update(&mut self) {
        let circumstances = UpdateContext {
            sources: &self.sources,
            sources_revision: self.revision,
            maglev_size: self.maglev_size,
            encap: &ENCAP,
            geography: &self.geography,
            settings_revision: 0,
            silent: self.silent,
            now: self.now,
        };
        self.desired.update(&self.fleet, &circumstances, &mut self.ids).unwrap();
    }

    /// Updates, plans and applies until nothing is left to do. Returns the commands.
    pub(crate) fn follow(&mut self) -> Vec<Command> {
        self.follow_with(|_| false)
    }

    pub(crate) fn follow_with(&mut self, has_connections: impl Fn(u32) -> bool) -> Vec<Command> {
        self.try_to_follow(has_connections).unwrap()
    }

    /// The same, but the rings may not find room.
    pub(crate) fn try_to_follow(
        &mut self,
        has_connections: impl Fn(u32) -> bool,
    ) -> Result<Vec<Command>, ControlError> {
        let has_connections = |slot: crate::load::LoadSlot| has_connections(slot.0);
        self.update();
        let has_flows = |slot, _, _| has_connections(slot);
        self.desired.retire(self.now, has_flows, &mut self.ids);
        let mut done = Vec::new();
        loop {
            let plan = plan(&self.desired, &self.actual)?;
            for command in &plan.commands {
                self.actual.apply(command);
                self.kernel.apply(command);
                self.kernel.check();
            }
            done.extend(plan.commands.iter().cloned());
            let more = self.desired.settle(plan);
            self.ids.settle(Instant::now(), has_connections, |_, _| false);
            if !more {
                return Ok(done);
            }
        }
    }
}

/// The tables as the kernel program would find them.
#[derive(Default)]
pub(crate) struct FakeKernel {
    pub(crate) addresses: BTreeMap<Address, u32>,
    pub(crate) lists: HashMap<ListKey, u32>,
    pub(crate) vips: BTreeMap<VipKey, Vip>,
    pub(crate) ranges: BTreeMap<RangeKey, Vip>,
    pub(crate) quic_ids: BTreeMap<QuicKey, u32>,
    pub(crate) services: BTreeMap<u32, SteeredService>,
    pub(crate) current: BTreeMap<u32, Ring>,
    rings: BTreeMap<u32, u32>,
    pub(crate) backends: BTreeMap<u32, Entry>,
    pub(crate) statuses: BTreeMap<u32, u32>,
}

impl FakeKernel {
    fn apply(&mut self, command: &Command) {
        match command.clone() {
            Command::SetBackend { id, backend } => drop(self.backends.insert(id, backend)),
            Command::SetStatus { id, status } => drop(self.statuses.insert(id, status)),
            Command::ClearBackend { id } => {
                self.backends.remove(&id).expect("nothing is cleared twice");
                self.statuses.remove(&id);
            }
            Command::WriteRing { offset, words, .. } => {
                let end = offset + words.len() as u32;
                assert!(end <= RINGS, "beyond the table");
                let apart = |ring: &Ring| {
                    let (start, length) = (ring.offset(), self.words(*ring).len() as u32);
                    end <= start || start + length <= offset
                };
                assert!(self.current.values().all(apart), "over a ring that is current");
                self.rings.extend((offset..).zip(words));
            }
            Command::SetService { id, service } => drop(self.services.insert(id, service)),
            Command::SetRing { service: id, ring } => drop(self.current.insert(id, ring)),
            Command::SetVip(key, vip) => drop(self.vips.insert(key, vip)),
            Command::RemoveVip(key) => drop(self.vips.remove(&key).expect("it was there")),
            Command::SetAccess(prefix, access) => drop(self.lists.insert(prefix, access)),
            Command::RemoveAccess(prefix) => {
                self.lists.remove(&prefix).expect("it was there");
            }
            Command::SetRange(key, vip) => drop(self.ranges.insert(key, vip)),
            Command::RemoveRange(key) => drop(self.ranges.remove(&key).expect("it was there")),
            Command::SetQuicId(key, backend) => {
                assert!(self.backends.contains_key(&backend), "{backend} is not there");
                self.quic_ids.insert(key, backend);
            }
            Command::RemoveQuicId(key) => drop(self.quic_ids.remove(&key).expect("it was there")),
            Command::SetAddress(address, flags) => {
                assert_ne!(self.addresses.insert(address, flags), Some(flags), "set twice");
            }
            Command::RemoveAddress(address) => {
                self.addresses.remove(&address).expect("it was there");
            }
        }
        self.current.retain(|_, ring| ring.length() > 0);
        self.services.retain(|_, service| *service != SteeredService::default());
    }

    /// Returns a ring's slots, its number of members, its members, and the rings of farther
    /// regions.
    pub(crate) fn words(&self, ring: Ring) -> Vec<u32> {
        let mut words: Vec<u32> = self.rings.range(ring.offset()..).map(|it| *it.1).collect();
        let sizes = regions(&words, ring.length()).map(|it| it.slots.len() + it.members.len() + 2);
        words.truncate(sizes.sum());
        assert_eq!(words.last(), Some(&0), "they end");
        words
    }

    pub(crate) fn ring(&self, service: u32) -> Vec<u32> {
        self.current.get(&service).map_or_else(Vec::new, |&ring| self.words(ring))
    }

    /// Checks what a packet would find: VIPs only of announced addresses, and rings only with
    /// existing backends.
    fn check(&self) {
        for (&id, &ring) in &self.current {
            for Region { slots, members } in regions(&self.words(ring), ring.length()) {
                let named: [BTreeSet<_>; 2] = [slots, members].map(|it| it.iter().collect());
                assert_eq!(named[0], named[1], "the members are those in the ring");
                let is_there = |backend: &u32| self.backends.contains_key(backend);
                assert!(members.iter().all(is_there), "{id} names {members:?}");
            }
        }
        for (key, backend) in &self.quic_ids {
            assert!(self.backends.contains_key(backend), "{key:?} names {backend}");
        }
        for (address, flags) in &self.addresses {
            let has_range = self.ranges.keys().any(|key| key.address == *address);
            assert!(has_range || *flags & address_flags::RANGES == 0, "{address:?} has no range");
        }
        for vip in self.vips.values().filter(|vip| vip.path == path::STEER) {
            assert!(vip.service < 16);
        }
    }
}
