//! The stage of the demo: lab, servers, certificate, configuration, daemon.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::progress::step;
use crate::{
    actors::servers,
    daemon::process::Daemon,
    lab::{
        process::{Process, output},
        topology::{DNS4, DNS6, Lab, VIP4, VIP6},
    },
};

/// The name that the demo's certificate is for.
pub const NAME: &str = "app.example.test";
/// Announced ports of the pass-through services.
pub const TCP_PORT: u16 = 9000;
pub const UDP_PORT: u16 = 53;

/// Field order is the order of the end: daemon, servers, lab.
pub struct Setting {
    pub daemon: Daemon,
    servers: Vec<Process>,
    /// The certificate that clients trust.
    pub authority: PathBuf,
    pub lab: Lab,
}

impl Setting {
    /// With `tag` the lab carries that name, else one of this process.
    pub fn up(tag: Option<&str>) -> Result<Self> {
        step("namespaces: client, lb, fabric, b1, b2, b3");
        let lab = tag.map_or_else(Lab::up, Lab::tagged)?;
        step("servers on the backends: HTTP, TCP, UDP");
        let servers = servers::start_all(&lab)?;
        let authority = certificate(lab.directory())?;
        step("lb run: loads the kernel programs, attaches XDP, starts the proxy");
        let daemon = Daemon::start(&lab, &services(&lab))?;
        let modes = daemon.status()?.interfaces;
        for interface in modes {
            step(&format!("XDP is attached to {} ({})", interface.name, interface.mode));
        }
        Ok(Self { daemon, servers, authority, lab })
    }

    /// Lets all of it outlive us.
    pub fn keep(&mut self) {
        self.daemon.keep();
        for server in &mut self.servers {
            server.keep();
        }
        self.lab.keep();
    }
}

/// A self-signed certificate for [`NAME`] as `cert.pem` and `key.pem`; its path.
pub fn certificate(directory: &Path) -> Result<PathBuf> {
    let certificate = directory.join("cert.pem");
    output(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={NAME}")])
            .args(["-addext", &format!("subjectAltName=DNS:{NAME}")])
            .arg("-keyout")
            .arg(directory.join("key.pem"))
            .arg("-out")
            .arg(&certificate),
    )?;
    fs::metadata(&certificate).context("openssl wrote no certificate")?;
    Ok(certificate)
}

/// The demo's services, as TOML.
#[must_use]
pub fn services(lab: &Lab) -> String {
    let directory = lab.directory().display();
    let web = servers(lab, servers::HTTP, 1);
    let tcp = servers(lab, servers::TCP, 2);
    let udp = servers(lab, servers::UDP, 2);
    format!(
        r#"# What no longer answers is forgotten quickly here, so that the demo can watch it.
[node.flow_timeouts]
udp = "2s"

[[certificates]]
cert = "{directory}/cert.pem"
key = "{directory}/key.pem"

[[services]]
name = "web"
addresses = ["{VIP4}", "{VIP6}"]
hostnames = ["{NAME}"]

  [[services.ports]]
  port = 443
  handlers = ["tls", "http"]

  [[services.ports]]
  port = 80
  handlers = ["http"]
  force_https = true

  [services.load_balancer]
  strategy = "p2c"
  servers = [{web}]
  health_check = {{ path = "/healthz", interval = "1s", timeout = "1s" }}

[[services]]
name = "tcp"
addresses = ["{VIP4}", "{VIP6}"]
ports = [{{ port = {TCP_PORT} }}]
load_balancer.servers = [{tcp}]

[[services]]
name = "udp"
protocol = "udp"
addresses = ["{DNS4}", "{DNS6}"]
ports = [{{ port = {UDP_PORT} }}]
load_balancer.servers = [{udp}]
"#
    )
}

/// The backends' addresses of the first `families` (IPv4, then IPv6) as a TOML list's content.
fn servers(lab: &Lab, port: u16, families: usize) -> String {
    let addresses = servers::addresses(lab, port);
    let listed: Vec<_> = addresses
        .iter()
        .take(families * lab.backends.len())
        .map(|address| format!("\n    {{ address = \"{address}\" }}"))
        .collect();
    format!("{},\n  ", listed.join(","))
}
