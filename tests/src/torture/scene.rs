//! The lab with all its servers, and the daemon between.

use std::fs;

use anyhow::Result;

use super::{
    names::HOST,
    world::{CERTIFICATES, UPLINK, World},
};
use crate::{
    actors::{certificates::issue, postgres, servers},
    daemon::process::{Daemon, preamble, reload},
    lab::{netns::Netns, process::Process, topology::Lab},
};

/// Field order is the order of the end: daemon, servers, lab.
pub(super) struct Scene {
    pub daemon: Daemon,
    _databases: Vec<Process>,
    _servers: Vec<Process>,
    _second: Netns,
    pub lab: Lab,
}

impl Scene {
    /// With the daemon's first configuration.
    pub(super) fn up() -> Result<(Self, World)> {
        let lab = Lab::up()?;
        let second = lab.second_client()?;
        lab.plug(&second, UPLINK)?;
        let (servers, databases) = (servers::start_all(&lab)?, postgres::start_all(&lab)?);
        for stem in CERTIFICATES {
            issue(lab.directory(), stem, &[HOST])?;
        }
        let world = World::new(&lab, preamble(&lab));
        let file = lab.directory().join("lb.toml");
        fs::write(&file, world.toml())?;
        let daemon = Daemon::run(&lab, &file)?;
        let scene = Self { daemon, _databases: databases, _servers: servers, _second: second, lab };
        Ok((scene, world))
    }

    /// What `lb reload` says of another file, and whether it takes it.
    pub(super) fn reload(&self, text: &str) -> Result<(bool, String)> {
        fs::write(self.lab.directory().join("lb.toml"), text)?;
        reload(&self.lab, &[])
    }
}
