//! A daemon whose file has one service, and a client of its API.

use std::{fs, net::SocketAddr};

use anyhow::Result;
use lb_tests::{
    actors::{client::curl, servers},
    daemon::{
        api::Api,
        config::service,
        process::{Daemon, preamble, reload, socket},
    },
    lab::{
        process::Process,
        topology::{Lab, VIP4, vips},
    },
};
use serde_json::{Value, json};

/// The port of the file's service.
pub(crate) const ECHO: u16 = 9000;
/// A port for the API's.
pub(crate) const WEB: u16 = 80;

pub(crate) struct Scene {
    pub api: Api,
    pub daemon: Daemon,
    servers: Vec<Process>,
    pub lab: Lab,
}

impl Scene {
    pub(crate) fn up() -> Result<Self> {
        let lab = Lab::up()?;
        let servers = servers::start_all(&lab)?;
        Self::write(&lab, "")?;
        let daemon = Daemon::run(&lab, &lab.directory().join("lb.toml"))?;
        let api = Api::at(&socket(&lab));
        Ok(Self { api, daemon, servers, lab })
    }

    /// Writes the file: the echo service, and `more`.
    pub(crate) fn write(lab: &Lab, more: &str) -> Result<()> {
        let echo = servers::addresses(lab, servers::TCP);
        let text = preamble(lab) + "\n" + &service("echo", "tcp", &format!("port = {ECHO}"), &echo);
        Ok(fs::write(lab.directory().join("lb.toml"), text + more)?)
    }

    /// Adds lines to `[admin]`.
    pub(crate) fn write_admin(lab: &Lab, lines: &str) -> Result<()> {
        Self::write(lab, "")?;
        let file = lab.directory().join("lb.toml");
        let text = fs::read_to_string(&file)?.replace("[admin]\n", &format!("[admin]\n{lines}\n"));
        Ok(fs::write(file, text)?)
    }

    /// Has the daemon read its file again.
    pub(crate) fn reload(&self) -> Result<String> {
        let (done, text) = reload(&self.lab, &[])?;
        anyhow::ensure!(done, "{text}");
        Ok(text)
    }

    /// A service that answers HTTP at `port`.
    pub(crate) fn web(&self, port: u16) -> Value {
        let servers = servers::addresses(&self.lab, servers::HTTP);
        let v4 = servers.iter().filter(|address| address.is_ipv4());
        let servers: Vec<_> = v4.map(|it| json!({"address": it.to_string()})).collect();
        json!({
            "addresses": [VIP4.to_string()],
            "ports": [{"port": port, "handlers": ["http"]}],
            "load_balancer": {"servers": servers},
        })
    }

    /// Whether HTTP is answered at `port`.
    pub(crate) fn answers(&self, port: u16) -> Result<bool> {
        let vip: SocketAddr = vips(port)[0];
        let answer = curl(&self.lab.client, &["--connect-timeout", "2", &format!("http://{vip}/")]);
        Ok(answer.is_ok_and(|answer| answer.status == 200))
    }

    /// The names of the running services.
    pub(crate) fn running(&self) -> Result<Vec<String>> {
        let status = self.daemon.status()?;
        let live = status.services.into_iter().filter(|service| !service.removed);
        Ok(live.map(|service| service.name).collect())
    }

    pub(crate) fn close(self) -> Result<()> {
        let Self { daemon, servers, lab, .. } = self;
        daemon.stop()?;
        drop((servers, lab));
        Ok(())
    }
}
