//! Services by the thousand, and what happens to them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    sync::Arc,
};

use lb::{
    control::StableIds,
    fleet::{Backend, Fleet, RunningService},
    service::{Pool, Port, Server, Service, Strategy},
    tables::Source,
};

use super::size::Size;

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 255, 255, 254));
const PORTS: u32 = 30_720;
const PORT: NonZeroU16 = NonZeroU16::new(443).expect("not zero");

/// What services are made from.
pub(crate) struct Setting {
    pub(crate) slots: StableIds,
    pub(crate) sources: HashMap<IpAddr, Source>,
    pub(crate) revision: u64,
    servers: u32,
}

impl Setting {
    pub(crate) fn new(slots: StableIds) -> Self {
        Self { slots, sources: HashMap::new(), revision: 1, servers: 0 }
    }

    pub(crate) fn fleet(&mut self, size: Size) -> Fleet {
        let services = (0..size.services).map(|number| {
            let servers = (0..size.servers).map(|_| self.server()).collect();
            self.run(service(number, servers), &[])
        });
        Fleet::new(services.collect())
    }

    /// A new server comes to a service; the others stay as they are.
    pub(crate) fn add_server(&mut self, fleet: &mut Fleet, index: u32) {
        let old = fleet.services[index as usize].clone();
        let mut grown = Service::clone(&old.service);
        grown.pool.servers.push(self.server());
        self.revision += 1;
        fleet.services[index as usize] = self.run(grown, &old.backends);
    }

    /// One of its servers leaves a service.
    pub(crate) fn remove_server(&mut self, fleet: &mut Fleet, index: u32) {
        let old = fleet.services[index as usize].clone();
        let mut left = Service::clone(&old.service);
        let gone = left.pool.servers.remove(2);
        self.sources.remove(&gone.address.ip());
        self.revision += 1;
        fleet.services[index as usize] = self.run(left, &old.backends);
    }

    /// A service with servers of its own.
    pub(crate) fn add_service(&mut self, fleet: &mut Fleet, _: u32) {
        let number = fleet.services.len() as u32;
        let count = fleet.services[0].backends.len();
        let servers = (0..count).map(|_| self.server()).collect();
        self.revision += 1;
        let running = self.run(service(number, servers), &[]);
        fleet.services.push(running);
    }

    /// The last of the services that came.
    pub(crate) fn remove_service(&mut self, fleet: &mut Fleet, _: u32) {
        fleet.services.pop();
    }

    pub(crate) fn fail(&mut self, fleet: &mut Fleet, index: u32) {
        let running = &fleet.services[index as usize];
        running.backends[0].set_up(false);
        running.touch();
    }

    pub(crate) fn drain(&mut self, fleet: &mut Fleet, index: u32) {
        let running = &fleet.services[index as usize];
        running.backends[1].set_draining(true);
        running.touch();
    }

    fn server(&mut self) -> Server {
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + self.servers);
        self.servers += 1;
        self.sources.insert(address.into(), Source::only(OURS, PORTS));
        Server::at(SocketAddr::new(address.into(), 8443))
    }

    fn run(&mut self, service: Service, known: &[Arc<Backend>]) -> Arc<RunningService> {
        let backends = service.pool.servers.iter().map(|server| {
            let same = known.iter().find(|backend| backend.server.address == server.address);
            same.cloned().unwrap_or_else(|| {
                let slot = self.slots.load(server.address).expect("there is room");
                Arc::new(Backend::new(server.clone(), slot))
            })
        });
        let backends = backends.collect();
        Arc::new(RunningService::new(Arc::new(service), backends))
    }
}

/// A service as large as any.
pub(crate) fn sample(servers: u32) -> Service {
    let address = |number| Ipv4Addr::from_bits(number + 1).into();
    service(0, (0..servers).map(|number| Server::at(SocketAddr::new(address(number), 1))).collect())
}

fn service(number: u32, servers: Vec<Server>) -> Service {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 1).to_bits() + number);
    Service {
        addresses: vec![address.into()],
        ports: vec![Port::plain(PORT)],
        ..Service::plain(format!("service-{number}"), Pool::plain(Strategy::Maglev, servers))
    }
}
