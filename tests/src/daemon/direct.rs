//! What `l2`, `ipip` and `gue` need around them: backends that answer clients past us.

use std::net::SocketAddr;

use anyhow::Result;

use super::{config, decap::Decap};
use crate::{
    actors::{iperf, servers},
    lab::{
        process::Process,
        topology::{Lab, VIP4, VIP6},
    },
};

/// Every backend's servers, what takes packets out of their tunnels, and iperf3 on the first.
pub struct Backends {
    pub decaps: Vec<Decap>,
    /// In the backends' order.
    pub servers: Vec<Process>,
    _iperf: Process,
}

impl Backends {
    /// `decap`: flags of `lb decap`, whose XDP is native on one, generic on the next.
    pub fn up(lab: &Lab, mode: &str, decap: &[&str]) -> Result<Self> {
        lab.answer_directly()?;
        let vips = [VIP4.into(), VIP6.into()];
        let servers = lab.backends.iter().map(|backend| servers::start_at(lab, backend, &vips));
        let servers = servers.collect::<Result<_>>()?;
        let is_tunnel = mode == "ipip" || mode == "gue";
        let decaps = lab.backends.iter().filter(|_| is_tunnel).zip(["native", "generic", "auto"]);
        let decaps = decaps.map(|(backend, how)| {
            Decap::start(lab, backend, &[&["--mode", how][..], decap].concat())
        });
        Ok(Self { decaps: decaps.collect::<Result<_>>()?, servers, _iperf: iperf::serve(lab)? })
    }
}

/// A service whose packets reach `servers` by `mode`. Lines of its own may follow.
#[must_use]
pub fn steered(mode: &str, name: &str, protocol: &str, servers: &[SocketAddr]) -> String {
    let port = servers[0].port();
    let service = config::steered(name, protocol, port, servers);
    format!("{service}forwarding = \"{mode}\"\n")
}
