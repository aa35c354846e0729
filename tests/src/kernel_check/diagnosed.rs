//! A daemon whose failures tell what the kernels on the way counted.

use anyhow::{Context as _, Result, ensure};

use crate::{
    actors::{servers, talk::Talk},
    daemon::{
        config::steered,
        process::{self, Daemon},
        status::Status,
    },
    lab::{
        process::Process,
        topology::{INTERFACES, Lab, vips},
    },
    measure::diagnosis::diagnose,
};

/// A steered service.
pub(super) const PORT: u16 = 9000;
pub(super) const SERVICE: &str = "tcp";

/// Field order is the order of the end: daemon, servers, lab.
pub(super) struct Scene {
    pub daemon: Daemon,
    _servers: Vec<Process>,
    pub lab: Lab,
}

impl Scene {
    /// One steered service; lb's `interfaces` are these, of a lab that `prepare` has changed.
    pub(super) fn up(
        interfaces: [&str; 2],
        prepare: impl FnOnce(&Lab) -> Result<()>,
    ) -> Result<Self> {
        let lab = Lab::up()?;
        prepare(&lab)?;
        let servers = servers::start_all(&lab)?;
        let services = steered(SERVICE, "tcp", PORT, &servers::addresses(&lab, servers::TCP));
        let mut config = process::preamble(&lab);
        for (usual, ours) in INTERFACES.iter().zip(interfaces) {
            config = config.replace(&format!("\"{usual}\""), &format!("\"{ours}\""));
        }
        let file = lab.directory().join("lb.toml");
        std::fs::write(&file, config + &services)?;
        let daemon = Daemon::run(&lab, &file)?;
        Ok(Self { daemon, _servers: servers, lab })
    }

    /// Lines and long ones to both families' addresses; none of it by the proxy, nothing dropped.
    pub(super) fn serves(&self, modes: [&str; 2]) -> Result<()> {
        self.try_serve(modes).with_context(|| diagnose(&self.lab, &self.daemon))
    }

    fn try_serve(&self, modes: [&str; 2]) -> Result<()> {
        const EACH: u64 = 4;
        let before = connections(&self.daemon.status()?)?;
        for vip in vips(PORT) {
            for _ in 0..EACH {
                Talk::open(&self.lab.client, vip)?.echo_long(20_000)?;
            }
        }
        let status = self.daemon.when_quiet()?;
        let steered = connections(&status)? - before;
        ensure!(steered == 2 * EACH, "{steered} connections were steered, not {}", 2 * EACH);
        ensure!(status.dropped_in_all() == 0, "{status:?}");
        let found: Vec<_> = status.interfaces.iter().map(|it| it.mode.as_str()).collect();
        ensure!(found == modes, "XDP is {found:?}, not {modes:?}");
        Ok(())
    }

    /// Ends the daemon and takes everything down.
    pub(super) fn end(self) -> Result<()> {
        self.daemon.stop()?;
        let said = process::detach(&self.lab)?;
        ensure!(said.matches("detached").count() >= 1, "{said}");
        let links = self.lab.lb.ip("-details link show")?;
        ensure!(!links.contains("prog/xdp"), "left behind: {links}");
        Ok(())
    }
}

fn connections(status: &Status) -> Result<u64> {
    Ok(status.service(SERVICE).context("the service")?.connections())
}
