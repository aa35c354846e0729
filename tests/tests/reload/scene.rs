//! A daemon with a proxied and a steered service, and a file that changes.

use std::{fs, net::SocketAddr};

use anyhow::Result;
use lb_tests::{
    actors::{servers, talk::Talk},
    daemon::{
        config::service,
        process::{Daemon, preamble_with},
    },
    lab::{
        process::Process,
        topology::{Lab, vips},
    },
};

pub(crate) const WEB: u16 = 80;
pub(crate) const ECHO: u16 = 9000;
const EXTRA: u16 = 9100;

pub(crate) struct Scene {
    pub talks: Vec<Talk>,
    pub daemon: Daemon,
    pub servers: Vec<Process>,
    pub lab: Lab,
}

impl Scene {
    pub(crate) fn up() -> Result<Self> {
        let lab = Lab::up()?;
        let servers = servers::start_all(&lab)?;
        Self::configure(&lab, lab.backends.len(), 0, false)?;
        let daemon = Daemon::run(&lab, &lab.directory().join("lb.toml"))?;
        // Enough that each server has one.
        let talks = vips(ECHO).into_iter().cycle().take(24);
        let talks = talks.map(|vip| Talk::open(&lab.client, vip)).collect::<Result<_>>()?;
        Ok(Self { talks, daemon, servers, lab })
    }

    /// Writes a configuration: the services on the first `servers` backends, with another
    /// strategy and limits by `variant`, and perhaps one more service.
    pub(crate) fn configure(lab: &Lab, servers: usize, variant: usize, extra: bool) -> Result<()> {
        let text = Self::services(lab, servers, variant, extra);
        Ok(fs::write(lab.directory().join("lb.toml"), text)?)
    }

    pub(crate) fn services(lab: &Lab, servers: usize, variant: usize, extra: bool) -> String {
        let on = |port| {
            let all = servers::addresses(lab, port);
            let (v4, v6) = all.split_at(lab.backends.len());
            [&v4[..servers], &v6[..servers]].concat()
        };
        let strategy = ["p2c", "wrr", "least_conn"][variant];
        let pooled = |text: String| format!("{text}load_balancer.strategy = \"{strategy}\"\n");
        let mut text =
            preamble_with(lab, "flow_timeouts.udp = '2s'\nflow_timeouts.udp_answered = '2s'");
        text.push('\n');
        let http = format!("port = {WEB}, handlers = [\"http\"]");
        text += &pooled(service("web", "tcp", &http, &on(servers::HTTP)));
        text += &service("echo", "tcp", &format!("port = {ECHO}"), &on(servers::TCP));
        text += &service("udp", "udp", &format!("port = {ECHO}"), &on(servers::UDP));
        if extra {
            text += &service("extra", "tcp", &format!("port = {EXTRA}"), &on(servers::TCP));
        }
        text
    }

    pub(crate) fn first_web_server(&self) -> SocketAddr {
        servers::addresses(&self.lab, servers::HTTP)[0]
    }

    /// Ends all connections: every count is 0 then.
    pub(crate) fn close(self) -> Result<()> {
        let Self { talks, daemon, servers, lab } = self;
        drop(talks);
        daemon.when_quiet()?;
        daemon.stop()?;
        drop((servers, lab));
        Ok(())
    }
}
