//! Puts a configuration in the place of the running one, while everything goes on.
//!
//! What comes is made before what goes is taken away: the proxy knows a new service before the
//! kernel's tables lead to it, and these know it before its address is announced.

use std::{sync::Arc, time::Instant};

use anyhow::Context as _;
use tracing::{error, warn};

use super::{serving::Serving, state::Daemon};
use crate::{
    admin::SocketAccess,
    app::reconcile::{drains::Moment, fleet_builder},
    fleet::Fleet,
    proxy::{CheckedSettings, Routes},
    settings::Config,
};

/// A configuration, and what was made of it.
pub(crate) struct Prepared {
    config: Config,
    fleet: Fleet,
    routes: Arc<Routes>,
    settings: CheckedSettings,
    access: Arc<SocketAccess>,
}

impl Daemon {
    /// Makes what `config` needs, and changes nothing.
    ///
    /// # Errors
    ///
    /// Its services get in each other's way, or the kernel's tables have no room for them.
    pub(crate) fn prepare(
        &mut self,
        serving: &Serving,
        config: Config,
    ) -> anyhow::Result<Prepared> {
        let ids = &mut self.kernel.reconciler.ids;
        let fleet = fleet_builder::build_fleet(&self.fleet.running, &config.services, ids)?;
        let routes = serving.proxy.routes.load().changed(&fleet, config.geography())?;
        let proxy = Arc::new(config.proxy.clone());
        let settings = CheckedSettings::new(proxy, config.node.region.clone())?;
        let access = Arc::new(SocketAccess::of(&config.admin)?);
        Ok(Prepared { config, fleet, routes: Arc::new(routes), settings, access })
    }

    /// Puts `desired` in the place of what runs. If that fails half way, what ran before is put
    /// back.
    ///
    /// # Errors
    ///
    /// A part could not be changed: everything is as it was.
    pub(crate) async fn change_over(
        &mut self,
        serving: &mut Serving,
        desired: Prepared,
    ) -> anyhow::Result<()> {
        let before = Prepared {
            config: self.config.clone(),
            fleet: self.fleet.running.clone(),
            routes: serving.proxy.routes.load_full(),
            settings: CheckedSettings::new(
                Arc::new(self.config.proxy.clone()),
                self.config.node.region.clone(),
            )?,
            access: self.desired.access.load_full(),
        };
        let Err(failure) = self.install(serving, desired).await else { return Ok(()) };
        if let Err(error) = self.install(serving, before).await {
            // The next look at everything tries again.
            error!(error = format!("{error:#}"), "cannot go back to the former configuration yet");
        }
        Err(failure)
    }

    async fn install(&mut self, serving: &mut Serving, desired: Prepared) -> anyhow::Result<()> {
        let Prepared { config, fleet, routes, settings, access } = desired;
        let present = self.host.network.interfaces().await?;
        self.kernel.interfaces.configure(&config.node.interfaces, &present)?;
        let same_settings =
            self.config.proxy == config.proxy && self.config.node.region == config.node.region;
        let same_certificates = self.config.certificates == config.certificates;
        if self.config.admin != config.admin {
            self.desired.access.store(access);
        }
        let before = serving.proxy.routes.load_full();
        let running = (&self.fleet.running, &*before);
        self.fleet.removals.note(running, (&fleet, &*routes), Instant::now());
        let same_ways = fleet_builder::steered_servers(&self.fleet.running)
            == fleet_builder::steered_servers(&fleet)
            && self.config.node.source_addresses == config.node.source_addresses
            && self.config.node.interfaces == config.node.interfaces;
        self.config = config;
        self.fleet.running = Fleet { removed: self.fleet.removals.addresses(), ..fleet };
        self.fleet.drains.renew(&self.fleet.running, Moment::now());

        if !same_certificates {
            for problem in serving.proxy.certificates.configure(&self.config.certificates) {
                warn!(error = %problem, "going on without this certificate");
            }
        }
        if !same_settings {
            serving.proxy.running.configure(settings);
        }
        serving.proxy.routes.store(routes);
        serving.proxy.running.notice();

        let addresses = fleet_builder::addresses(&self.fleet.running);
        self.fleet.sources.configure(&self.config.node, addresses.clone());
        self.kernel.reconciler.configure(&self.config);
        self.kernel.interfaces.follow(&mut self.kernel.program, &present);
        self.prepare_interfaces().await.context("cannot set up the host's network")?;
        if !same_ways {
            self.sync_routes().await.context("cannot set up the host's network")?;
        }
        self.try_reconcile().await?;
        self.kernel.reconciler.declare(&self.fleet.running);
        self.host.network.announce(&addresses).await?;
        self.follow_checks(&mut serving.checks);
        self.follow_conflicts().await;
        serving.reported.store(Arc::new(self.reported_services()));
        self.save_health();
        if let Err(error) = self.save_drains() {
            warn!(error = format!("{error:#}"), "cannot record which servers drain");
        }
        Ok(())
    }

    /// Lets go of removed services whose connections have ended, and ends those that are past their
    /// deadline.
    pub(crate) async fn advance_removals(&mut self, serving: &Serving) {
        let advanced = self.fleet.removals.advance(Instant::now());
        if advanced.expelled {
            serving.proxy.running.notice();
        }
        if advanced.addresses {
            self.fleet.running.removed = self.fleet.removals.addresses();
            self.reconcile().await;
            let addresses = fleet_builder::addresses(&self.fleet.running);
            if let Err(error) = self.host.network.announce(&addresses).await {
                warn!(%error, "cannot withdraw an address");
            }
        }
    }

    /// Warns of announced addresses that the host has as well, and of those that nobody answers
    /// for.
    async fn follow_conflicts(&mut self) {
        let followed = self.host.conflicts.follow(&self.host.network, &self.config).await;
        if let Err(error) = followed {
            warn!(%error, "cannot look which addresses this host has");
        }
    }
}
