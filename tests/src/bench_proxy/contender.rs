//! Who is compared: lb, nginx, HAProxy, each at an address of its own with the same ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::{
    extent::PROXY_CORE,
    haproxy,
    listening::when_listening,
    nginx, origin,
    ports::{ANNOUNCED, HTTP, HTTPS, RELAY, TUNNEL},
};
use crate::{
    daemon::process::Daemon,
    lab::{
        process::Process,
        topology::{Lab, VIP4},
    },
    measure::cpu,
};

pub(super) struct Contender {
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

    pub(super) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }
}

pub(super) struct Contenders {
    all: Vec<Contender>,
    daemon: Daemon,
    _peers: [Process; 2],
}

impl Contenders {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
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
    pub(super) fn all(&self) -> &[Contender] {
        &self.all
    }

    pub(super) fn stop(self) -> Result<()> {
        self.daemon.stop()
    }
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
