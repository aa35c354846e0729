//! Follows changes on the host: interfaces, addresses, routes, neighbours, settings. The kernel
//! reports them; a full look from time to time finds what it did not report.

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use tracing::warn;

use super::state::Daemon;
use crate::app::reconcile::{fleet_builder, repairs::RepairKind};
use crate::{
    datapath::Damage,
    host::{Changes, HostError, Interface},
    settings::AnswerNeighbours,
};

impl Daemon {
    /// Sets up what steering needs of the host: forwarding, VLAN devices, next hops and source
    /// addresses.
    pub(crate) async fn prepare_host(&mut self) -> anyhow::Result<()> {
        self.prepare_interfaces().await?;
        self.sync_routes().await
    }

    /// The same but for next hops and source addresses, which thousands of servers have.
    pub(crate) async fn prepare_interfaces(&mut self) -> anyhow::Result<()> {
        let present = self.host.network.interfaces().await?;
        self.enable_forwarding(&present)?;
        self.kernel.reconciler.set_vlans(&present)?;
        self.sync_neighbours(&present).await
    }

    /// Enables forwarding where packets are steered. Without it the kernel answers no neighbour
    /// discovery for addresses that it does not have.
    fn enable_forwarding(&mut self, present: &[Interface]) -> anyhow::Result<()> {
        let mut names =
            if self.steers() { self.kernel.interfaces.ingress_names() } else { Vec::new() };
        let addresses = fleet_builder::addresses(&self.fleet.running);
        let always = self.config.node.answer_neighbours == AnswerNeighbours::Always;
        if always && addresses.iter().any(IpAddr::is_ipv6) {
            let around =
                self.kernel.interfaces.around(present).into_iter().filter(|it| !it.loopback);
            names.extend(around.map(|interface| interface.name.as_str()));
        }
        Ok(self.host.network.enable_forwarding(&names)?)
    }

    fn steers(&self) -> bool {
        !fleet_builder::steered_servers(&self.fleet.running).is_empty()
    }

    /// Confirms neighbour entries, and answers for announced addresses, on the interfaces that
    /// packets come in by and on the devices that stand on those: clients may be on their networks.
    async fn sync_neighbours(&mut self, present: &[Interface]) -> anyhow::Result<()> {
        let around = self.kernel.interfaces.around(present);
        let indices = around.iter().map(|interface| interface.index);
        let confirmed = if self.steers() { indices.collect() } else { BTreeSet::new() };
        self.host.network.confirm_neighbours(confirmed);
        let (how, addresses) =
            (self.config.node.answer_neighbours, fleet_builder::addresses(&self.fleet.running));
        Ok(self.host.network.answer_neighbours(how, &around, &addresses).await?)
    }

    /// Keeps next hops resolved for servers, also those that left the configuration with
    /// connections, and for clients.
    pub(crate) async fn sync_routes(&mut self) -> anyhow::Result<()> {
        let servers = fleet_builder::steered_servers(&self.fleet.running);
        self.fleet.sources.refresh(&self.host.network, servers.clone()).await?;
        let kept = servers.into_iter().chain(self.kernel.reconciler.busy_servers());
        self.host.network.find_gateways(&self.kernel.reconciler.clients()).await?;
        self.host.network.keep_neighbours(kept.collect()).await?;
        self.sync_answer_paths().await
    }

    /// Returns when something on the host is to be looked at.
    pub(crate) fn host_due(&self) -> Option<Instant> {
        let due = [
            self.host.changes.due(),
            self.host.repairs.next(),
            self.host.network.next_neighbour_check(),
        ];
        due.into_iter().flatten().min()
    }

    /// Follows the reported changes that are due.
    pub(crate) async fn sync_due(&mut self) {
        let now = Instant::now();
        let mut changes = self.host.changes.take(now);
        if self.host.repairs.take_due(now) {
            changes.settings = true;
            changes.local_routes = true;
        }
        changes.neighbours |= self.host.network.take_neighbour_check(now);
        self.sync_host(changes).await;
    }

    /// Looks at everything, even if nothing changed: a plan that failed gets another try.
    pub(crate) async fn resync(&mut self) {
        self.sync_host(Changes::ALL).await;
        self.reconcile().await;
        self.host.network.save_journal();
        if !self.store.exist() {
            self.save_health();
            let _ = self.save_drains();
            self.succession.generations.save();
            self.keep_last_good();
        }
    }

    /// Follows `changes`. A failure is logged only: the next look tries again.
    async fn sync_host(&mut self, changes: Changes) {
        if let Err(error) = self.try_sync_host(changes).await {
            warn!(error = format!("{error:#}"), "cannot follow the host's network");
        }
    }

    async fn try_sync_host(&mut self, changes: Changes) -> anyhow::Result<()> {
        let Changes { links, addresses, local_routes, routes, settings, neighbours } = changes;
        if links {
            self.sync_interfaces().await?;
        }
        if links || settings {
            self.restore_settings()?;
        }
        // A link that goes down takes its routes along, and the kernel does not report those.
        if links || addresses || local_routes {
            self.restore_routes().await?;
        }
        if addresses {
            self.host.conflicts.follow(&self.host.network, &self.config).await?;
        }
        if links || addresses || routes {
            let before = self.fleet.sources.revision;
            self.sync_routes().await?;
            if self.fleet.sources.revision != before {
                self.reconcile().await;
            }
        } else if neighbours {
            self.host.network.check_neighbours().await?;
        }
        if self.host.network.restored_neighbours() > 0 {
            let done = Ok::<_, HostError>(());
            self.host.repairs.note(RepairKind::Neighbour, "next hops", done, Instant::now());
        }
        Ok(())
    }

    async fn sync_interfaces(&mut self) -> anyhow::Result<()> {
        let present = self.host.network.interfaces().await?;
        if self.kernel.interfaces.follow(&mut self.kernel.program, &present) {
            self.enable_forwarding(&present)?;
        }
        self.sync_neighbours(&present).await?;
        Ok(self.kernel.reconciler.set_vlans(&present)?)
    }

    /// Puts back what others took down of the data path. Looking costs some fifty system calls.
    pub(crate) fn repair_datapath(&mut self) {
        for damage in self.kernel.program.damage() {
            let kind = match damage {
                Damage::Program { .. } => RepairKind::Program,
                Damage::Listeners => RepairKind::Listeners,
                Damage::MapName(_) | Damage::LinkName(_) | Damage::ListenersName(_) => {
                    RepairKind::Pin
                }
            };
            let (thing, now) = (damage.to_string(), Instant::now());
            if self.host.repairs.is_due(kind, &thing, now) {
                let done = self.kernel.program.repair(&damage, self.kernel.interfaces.mode);
                self.host.repairs.note(kind, &thing, done, now);
                self.kernel.interfaces.show(&self.kernel.program);
            }
        }
    }

    async fn restore_routes(&mut self) -> anyhow::Result<()> {
        for address in self.host.network.lost_addresses().await? {
            let (thing, now) = (address.to_string(), Instant::now());
            if self.host.repairs.is_due(RepairKind::Route, &thing, now) {
                match self.host.network.restore_address(address).await {
                    // An interface had the address until now.
                    Ok(false) => {}
                    done => self.host.repairs.note(RepairKind::Route, &thing, done.map(drop), now),
                }
            }
        }
        Ok(())
    }

    fn restore_settings(&mut self) -> anyhow::Result<()> {
        for (key, value) in self.host.network.lost_settings()? {
            let now = Instant::now();
            if self.host.repairs.is_due(RepairKind::Setting, &key, now) {
                let done = self.host.network.restore_setting(&key, &value);
                self.host.repairs.note(RepairKind::Setting, &key, done, now);
            }
        }
        Ok(())
    }
}
