//! A lab with servers on every backend and a daemon between: where most end-to-end tests play.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};

use super::{process::Process, topology::Lab};
use crate::{
    actors::{client::curl, servers},
    daemon::{
        process::{Daemon, preamble},
        status::{Backend, Service, Status},
    },
};

pub use crate::daemon::config::listed;

/// The daemon's region.
pub const REGION: &str = "fra";

/// Field order is the order of the end: daemon, servers, lab.
pub struct Stage {
    pub daemon: Daemon,
    /// In the backends' order.
    pub servers: Vec<Process>,
    pub lab: Lab,
}

impl Stage {
    /// `services` writes the configuration below `[node]` and `[admin]`.
    pub fn up(services: impl FnOnce(&Lab) -> Result<String>) -> Result<Self> {
        Self::up_with("", services)
    }

    /// The same with more lines in `[node]`.
    pub fn up_with(lines: &str, services: impl FnOnce(&Lab) -> Result<String>) -> Result<Self> {
        Self::up_by(lines, services, Daemon::run)
    }

    /// The same with a daemon that has at most `limit` open files.
    pub fn up_short_of_files(
        limit: u32,
        services: impl FnOnce(&Lab) -> Result<String>,
    ) -> Result<Self> {
        Self::up_by("", services, |lab, config| Daemon::run_short_of_files(lab, config, limit))
    }

    fn up_by(
        lines: &str,
        services: impl FnOnce(&Lab) -> Result<String>,
        run: impl FnOnce(&Lab, &Path) -> Result<Daemon>,
    ) -> Result<Self> {
        let lab = Lab::up()?;
        let servers = servers::start_all(&lab)?;
        let config = lab.directory().join("lb.toml");
        let node =
            preamble(&lab).replace("[node]", &format!("[node]\nregion = \"{REGION}\"\n{lines}"));
        fs::write(&config, format!("{node}\n{}", services(&lab)?))?;
        let daemon = run(&lab, &config)?;
        Ok(Self { daemon, servers, lab })
    }

    /// Asks backend `index` itself, from its own host.
    pub fn ask_backend(&self, index: usize, path: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:{}{path}", servers::HTTP);
        Ok(curl(&self.lab.backends[index].netns, &[&url])?.body)
    }

    /// Ends all that the backends hold back.
    pub fn release(&self) -> Result<()> {
        for index in 0..self.lab.backends.len() {
            self.ask_backend(index, "/release")?;
        }
        Ok(())
    }

    /// Packets that were dropped for this reason so far.
    pub fn dropped(&self, reason: &str) -> Result<u64> {
        Ok(self.daemon.status()?.dropped(reason))
    }

    /// Stops the daemon in order. Everything else goes as well.
    pub fn stop(self) -> Result<()> {
        self.daemon.stop()
    }
}

/// The part of `status` about `service`.
pub fn service<'a>(status: &'a Status, service: &str) -> Result<&'a Service> {
    status.service(service).with_context(|| format!("no service {service} in the status"))
}

/// The part of `service` about the server at `address`.
pub fn backend(service: &Service, address: SocketAddr) -> Result<&Backend> {
    let mut backends = service.backends.iter();
    let found = backends.find(|backend| backend.address == address.to_string());
    found.with_context(|| format!("no backend {address} in the status"))
}
