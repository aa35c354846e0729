//! Starts the proxy: its listeners and its workers.

use std::{
    net::{Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use anyhow::Context as _;
use arc_swap::ArcSwap;

use super::{serving::ProxySide, state::Daemon};
use crate::app::reconcile::certificates::open_certificates;
use crate::{
    datapath::ingress_interface,
    proxy::{Proxy, Routes},
    settings::Config,
};

impl Daemon {
    /// Opens the listener group, which `sk_lookup` puts before the host's own sockets, and starts
    /// the workers. `inherited` are the listeners of a process whose place this one takes.
    pub(crate) fn start_proxy(&mut self, inherited: Vec<TcpListener>) -> anyhow::Result<ProxySide> {
        let Config { node, proxy, .. } = &self.config;
        let certificates = open_certificates(&self.config.certificates);
        let rotation = self.config.proxy.ticket_rotation;
        let routes =
            Routes::new(&self.fleet.running, &certificates, self.config.geography(), rotation)?;
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let workers = node.workers.unwrap_or_else(cores);
        let (kept, exhaustion) = (self.reserved_descriptors(), self.exhaustion.clone());
        let bound = match inherited.is_empty() {
            true => Proxy::bind(workers, any, kept, exhaustion),
            false => Proxy::inherit(inherited, workers, kept, exhaustion),
        };
        let bound = bound.context("cannot open the proxy's listeners")?;
        self.kernel.program.attach_listener(&bound.listeners()[0])?;
        let routes = Arc::new(ArcSwap::from_pointee(routes));
        let running = bound.start(
            Arc::new(proxy.clone()),
            node.region.clone(),
            routes.clone(),
            self.load.clone(),
            ingress_interface,
        )?;
        Ok(ProxySide { running, routes, certificates })
    }
}
