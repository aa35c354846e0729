//! Services as the daemon steers them, from the configuration's text to the loaded program, without
//! the daemon: its frames come by `BPF_PROG_TEST_RUN`, a hundred thousand flows in seconds.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use lb::{
    config,
    control::{self, Desired, StableIds, UpdateContext},
    datapath::{Datapath, DatapathConfig},
    fleet::{Backend, Fleet, RunningService},
    service::{FlowTimeouts, Service},
    tables::{Capacity, Source},
};
use lb_common::testing::{
    Frame,
    frames::{CLIENT_MAC, Link, OUR_MAC, tcp},
    world::{BACKEND_MAC, SOURCE_MAC},
};

use super::mirror;
use crate::lab::{netns::Netns, tag};

/// `enum xdp_action` in include/uapi/linux/bpf.h.
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;
/// Where an untagged frame of IPv4 without options has its ends.
const SOURCE: usize = 26;
const DESTINATION: usize = 30;
const SOURCE_PORT: usize = 34;
const DESTINATION_PORT: usize = 36;

/// A network with servers in it, all of them in 10.2.0.0/24.
pub struct Network {
    pub netns: Netns,
    up: u32,
    servers: Vec<String>,
}

impl Network {
    /// # Panics
    ///
    /// No root, or no `ip`.
    #[must_use]
    pub fn create(name: &str, servers: usize) -> Self {
        let netns = tag::alone(name).expect("root");
        let servers: Vec<String> =
            (0..servers).map(|number| format!("10.2.0.{}", 11 + number)).collect();
        let up = mirror::link(&netns, "up0", OUR_MAC, CLIENT_MAC, &["198.51.100.7"]);
        let ends: Vec<&str> = servers.iter().map(String::as_str).collect();
        mirror::link(&netns, "down0", SOURCE_MAC, BACKEND_MAC, &ends);
        mirror::forward(&netns);
        Self { netns, up, servers }
    }
}

/// The object with the daemon's half of the tables. To be used inside the network.
pub struct Steered<'a> {
    network: &'a Network,
    pub datapath: Datapath,
    slots: StableIds,
    fleet: Fleet,
    desired: Desired,
    actual: control::ActualTables,
}

impl<'a> Steered<'a> {
    pub fn load(network: &'a Network) -> Result<Self> {
        let config = DatapathConfig {
            max_flows: 1024,
            max_half_open: 1024,
            backends: 256,
            services: 64,
            vips: 64,
            ..DatapathConfig::default()
        };
        Self::load_with(network, config)
    }

    /// The same with tables of other sizes.
    pub fn load_with(network: &'a Network, config: DatapathConfig) -> Result<Self> {
        let capacity = Capacity {
            services: config.services,
            backends: config.backends,
            loads: config.load_slots,
            rings: config.ring_slots,
        };
        Ok(Self {
            network,
            datapath: Datapath::load(&config, FlowTimeouts::default())?,
            slots: StableIds::new(capacity),
            fleet: Fleet::default(),
            desired: Desired::default(),
            actual: control::ActualTables::new(capacity.rings),
        })
    }

    /// Brings the tables to what these `[[services]]` want. All flows are forgotten.
    pub fn configure(&mut self, services: &str) -> Result<()> {
        let text = format!("[node]\ninterfaces = [\"up0\", \"down0\"]\n{services}");
        let config = config::parse(Path::new("test.toml"), &text)?;
        let run = |service: &Arc<Service>| {
            let backends = service.pool.servers.iter().map(|server| {
                Ok(Arc::new(Backend::new(server.clone(), self.slots.load(server.address)?)))
            });
            let backends = backends.collect::<Result<_>>()?;
            Ok(Arc::new(RunningService::new(service.clone(), backends)))
        };
        let services = config.services.iter().map(run).collect::<Result<_>>()?;
        self.fleet = Fleet::new(services);
        self.datapath.flows.clear();
        self.follow(&config.node)
    }

    fn follow(&mut self, node: &lb::settings::Node) -> Result<()> {
        let source = Source::only("10.2.0.1".parse()?, node.port_count());
        let servers = self.network.servers.iter();
        let sources: HashMap<IpAddr, Source> =
            servers.map(|server| Ok((server.parse()?, source))).collect::<Result<_>>()?;
        let circumstances = UpdateContext {
            sources: &sources,
            sources_revision: 1,
            maglev_size: node.maglev_table_size,
            encap: &node.encap,
            geography: &lb::settings::Geography::default(),
            settings_revision: 0,
            silent: false,
            now: Instant::now(),
        };
        self.desired.update(&self.fleet, &circumstances, &mut self.slots)?;
        self.desired.retire(circumstances.now, |_, _, _| false, &mut self.slots);
        loop {
            let plan = control::plan(&self.desired, &self.actual)?;
            for command in &plan.commands {
                self.datapath.tables.apply(command)?;
                self.actual.apply(command);
            }
            let more = self.desired.settle(plan);
            self.slots.settle(Instant::now(), |_| false, |_, _| false);
            if !more {
                return Ok(());
            }
        }
    }

    /// A client's first segment: to which server it goes.
    pub fn open(&mut self, from: SocketAddr, to: SocketAddr) -> Result<IpAddr> {
        Ok(self.begin(from, to)?[1].ip())
    }

    /// A client's first segment, the server's answer and the client's to that.
    pub fn shake_hands(&mut self, from: SocketAddr, to: SocketAddr) -> Result<()> {
        let [source, server] = self.begin(from, to)?;
        // What SYN-ACK and ACK of one table frame agree on.
        let answer = tcp(Link::default(), server, source, "SA", b"").patch(38, &[0, 0, 7, 207]);
        self.steer(&answer)?;
        self.steer(&tcp(Link::default(), from, to, "A", b"")).map(drop)
    }

    /// The ends of a client's first segment behind us.
    fn begin(&mut self, from: SocketAddr, to: SocketAddr) -> Result<[SocketAddr; 2]> {
        let frame = self.steer(&tcp(Link::default(), from, to, "S", b""))?;
        let end = |address: usize, port: usize| -> Result<SocketAddr> {
            let address = frame.get(address..address + 4).context("an IPv4 frame")?;
            let port = frame.get(port..port + 2).context("a TCP segment")?;
            let port = u16::from_be_bytes(port.try_into()?);
            Ok(SocketAddr::new(<[u8; 4]>::try_from(address)?.into(), port))
        };
        Ok([end(SOURCE, SOURCE_PORT)?, end(DESTINATION, DESTINATION_PORT)?])
    }

    fn steer(&mut self, frame: &Frame) -> Result<Vec<u8>> {
        let trial = self.datapath.kernel.test_run(&frame.0, self.network.up)?;
        // What goes out where it came in is not redirected.
        let is_sent = [XDP_TX, XDP_REDIRECT].contains(&trial.action);
        ensure!(is_sent, "{frame:?} has the fate {}", trial.action);
        Ok(trial.frame)
    }
}
