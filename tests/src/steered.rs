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
    control::{self, Circumstances, Desired, Slots},
    datapath::{Datapath, DatapathConfig},
    fleet::{Backend, Fleet, RunningService},
    service::{FlowTimeouts, Service},
    tables::Capacity,
};
use lb_common::testing::{
    frames::{CLIENT_MAC, Link, OUR_MAC, tcp},
    world::{BACKEND_MAC, SOURCE_MAC},
};

use crate::{mirror, netns::Netns, tag};

/// `enum xdp_action` in include/uapi/linux/bpf.h.
const XDP_REDIRECT: u32 = 4;
/// Where an IPv4 frame has its destination.
const DESTINATION: std::ops::Range<usize> = 30..34;

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
    slots: Slots,
    fleet: Fleet,
    desired: Desired,
    actual: control::Tables,
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
        let capacity = Capacity {
            services: config.services,
            backends: config.backends,
            loads: config.load_slots,
            rings: config.ring_slots,
        };
        Ok(Self {
            network,
            datapath: Datapath::load(&config, FlowTimeouts::default())?,
            slots: Slots::new(capacity),
            fleet: Fleet::default(),
            desired: Desired::default(),
            actual: control::Tables::new(capacity.rings),
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
        self.fleet = Fleet { services };
        self.datapath.flows.clear();
        self.follow(&config.node)
    }

    fn follow(&mut self, node: &lb::settings::Node) -> Result<()> {
        let source: IpAddr = "10.2.0.1".parse()?;
        let servers = self.network.servers.iter();
        let sources: HashMap<IpAddr, IpAddr> =
            servers.map(|server| Ok((server.parse()?, source))).collect::<Result<_>>()?;
        let circumstances = Circumstances {
            sources: &sources,
            sources_revision: 1,
            maglev_size: node.maglev_table_size,
            encap: &node.encap,
            geography: &lb::settings::Geography::default(),
            now: Instant::now(),
        };
        self.desired.update(&self.fleet, &circumstances, &mut self.slots)?;
        self.desired.retire(circumstances.now, |_| false, &mut self.slots);
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
        let syn = tcp(Link::default(), from, to, "S", b"");
        let trial = self.datapath.kernel.try_frame(&syn.0, self.network.up)?;
        ensure!(trial.action == XDP_REDIRECT, "a SYN of {from} has the fate {}", trial.action);
        let bytes = trial.frame.get(DESTINATION).context("an IPv4 frame")?;
        Ok(IpAddr::from(<[u8; 4]>::try_from(bytes)?))
    }
}
