//! Who is compared: lb, nginx, HAProxy, each at an address of its own with the same ports.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Result;

use super::{PROXY_CORE, haproxy, nginx, origin};
use crate::{
    cpu,
    daemon::Daemon,
    process::{Process, poll},
    topology::{Lab, VIP4},
};

/// HTTP in plaintext and over TLS.
pub const HTTP: u16 = 80;
pub const HTTPS: u16 = 443;
/// TLS ended, and what is inside relayed.
pub const RELAY: u16 = 8443;
/// Relayed as they are, with version 1 of the PROXY protocol first.
pub const ANNOUNCED: u16 = 8444;
/// HTTP whose connections become tunnels.
pub const TUNNEL: u16 = 81;

pub struct Contender {
    pub name: &'static str,
    pub address: IpAddr,
    /// Its processes.
    pub ids: Vec<u32>,
}

impl Contender {
    fn new(name: &'static str, address: Ipv4Addr, id: u32) -> Result<Self> {
        let ids = cpu::family(id)?;
        for &id in &ids {
            cpu::pin(id, PROXY_CORE)?;
        }
        Ok(Self { name, address: address.into(), ids })
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }
}

pub struct Contenders {
    all: Vec<Contender>,
    daemon: Daemon,
    _peers: [Process; 2],
}

impl Contenders {
    pub fn start(lab: &Lab) -> Result<Self> {
        let daemon = Daemon::start_with(lab, "workers = 1", &services(lab))?;
        let nginx = when_listening(lab, nginx::start(lab)?, (nginx::ADDRESS, HTTPS).into())?;
        let haproxy = when_listening(lab, haproxy::start(lab)?, (haproxy::ADDRESS, HTTPS).into())?;
        let all = vec![
            Contender::new("lb", VIP4, daemon.id())?,
            Contender::new("nginx", nginx::ADDRESS, nginx.id())?,
            Contender::new("HAProxy", haproxy::ADDRESS, haproxy.id())?,
        ];
        Ok(Self { all, daemon, _peers: [nginx, haproxy] })
    }

    /// lb first.
    pub fn all(&self) -> &[Contender] {
        &self.all
    }

    pub fn stop(self) -> Result<()> {
        self.daemon.stop()
    }
}

/// Waits until `process` listens at `address`.
pub fn when_listening(lab: &Lab, mut process: Process, address: SocketAddr) -> Result<Process> {
    poll(&format!("{address} is listened on"), || {
        process.check()?;
        let patience = Duration::from_secs(1);
        lab.lb.within(|| TcpStream::connect_timeout(&address, patience).is_ok())
    })?;
    Ok(process)
}

fn services(lab: &Lab) -> String {
    let directory = lab.directory().display();
    let service = |name: &str, ports: &str, port: u16| {
        format!(
            "[[services]]\nname = \"{name}\"\naddresses = [\"{VIP4}\"]\nports = [{ports}]\n\
             load_balancer.servers = [{{ address = \"{}\" }}]\n\n",
            origin::at(port)
        )
    };
    let tls = "tls_options = { default_self_signed = true }";
    let web = format!(
        "{{ port = {HTTP}, handlers = [\"http\"] }}, \
         {{ port = {HTTPS}, handlers = [\"tls\", \"http\"], {tls} }}, \
         {{ port = {RELAY}, handlers = [\"tls\"], {tls} }}"
    );
    let announced = format!("{{ port = {ANNOUNCED}, handlers = [\"proxy_proto\"] }}");
    let tunnel = format!("{{ port = {TUNNEL}, handlers = [\"http\"] }}");
    format!(
        "[[certificates]]\ncert = \"{directory}/cert.pem\"\nkey = \"{directory}/key.pem\"\n\n{}{}{}",
        service("web", &web, origin::HTTP),
        service("announced", &announced, origin::ANNOUNCED),
        service("tunnel", &tunnel, origin::TUNNEL)
    )
}
