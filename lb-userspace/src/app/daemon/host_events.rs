//! Following what changes on the host: interfaces, addresses, routes, neighbours, settings. The
//! kernel tells of it; a slow look from time to time finds what it did not tell.

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
    /// Forwarding, VLAN devices, next hops and source addresses: what steering needs of the host.
    pub(crate) async fn prepare_host(&mut self) -> anyhow::Result<()> {
        let present = self.host.interfaces().await?;
        self.forward(&present)?;
        self.reconciler.set_vlans(&present)?;
        self.meet_neighbours(&present).await?;
        self.follow_routes().await
    }

    /// Who steers must forward, and the kernel answers neighbour discovery for others only then.
    fn forward(&mut self, present: &[Interface]) -> anyhow::Result<()> {
        let mut names = if self.steers() { self.interfaces.ingress_names() } else { Vec::new() };
        let addresses = fleet_builder::addresses(&self.fleet);
        let always = self.config.node.answer_neighbours == AnswerNeighbours::Always;
        if always && addresses.iter().any(IpAddr::is_ipv6) {
            let around = self.interfaces.around(present).into_iter().filter(|it| !it.loopback);
            names.extend(around.map(|interface| interface.name.as_str()));
        }
        Ok(self.host.enable_forwarding(&names)?)
    }

    fn steers(&self) -> bool {
        !fleet_builder::steered_servers(&self.fleet).is_empty()
    }

    /// Clients may be on the networks of the interfaces that packets come in by, and of what stands
    /// on those. Their entries are confirmed, and they ask for the announced addresses.
    async fn meet_neighbours(&mut self, present: &[Interface]) -> anyhow::Result<()> {
        let around = self.interfaces.around(present);
        let indices = around.iter().map(|interface| interface.index);
        let confirmed = if self.steers() { indices.collect() } else { BTreeSet::new() };
        self.host.confirm_neighbours(confirmed);
        let (how, addresses) =
            (self.config.node.answer_neighbours, fleet_builder::addresses(&self.fleet));
        Ok(self.host.answer_neighbours(how, &around, &addresses).await?)
    }

    /// Next hops are kept for servers, also those that left the configuration with connections, and
    /// for clients.
    async fn follow_routes(&mut self) -> anyhow::Result<()> {
        let servers = fleet_builder::steered_servers(&self.fleet);
        self.sources.refresh(&self.host, servers.clone()).await?;
        let kept = servers.into_iter().chain(self.reconciler.busy_servers());
        self.host.find_gateways(&self.reconciler.clients()).await?;
        self.host.keep_neighbours(kept.collect()).await?;
        self.follow_answers().await
    }

    /// When something on the host is to be looked at.
    pub(crate) fn host_due(&self) -> Option<Instant> {
        let due = [self.heard.due(), self.repairs.next(), self.host.neighbours_due()];
        due.into_iter().flatten().min()
    }

    /// Looks at what the kernel told of, as far as it is time.
    pub(crate) async fn heed(&mut self) {
        let now = Instant::now();
        let mut changes = self.heard.take(now);
        if self.repairs.next().is_some_and(|due| due <= now) {
            changes.settings = true;
            changes.local_routes = true;
        }
        changes.neighbours |= self.host.neighbours_due().is_some_and(|due| due <= now);
        self.look(changes).await;
    }

    /// The slow look. Also where nothing changed: a plan that failed gets another try.
    pub(crate) async fn tend(&mut self) {
        self.look(Changes::ALL).await;
        self.replan().await;
        self.host.keep_notes();
        if !self.notes.are_there() {
            self.note_health();
            let _ = self.note_drains();
        }
    }

    /// A failure now may be none at the next look.
    async fn look(&mut self, changes: Changes) {
        if let Err(error) = self.follow_host(changes).await {
            warn!(error = format!("{error:#}"), "cannot follow the host's network");
        }
    }

    async fn follow_host(&mut self, changes: Changes) -> anyhow::Result<()> {
        let Changes { links, addresses, local_routes, routes, settings, neighbours } = changes;
        if links {
            self.follow_interfaces().await?;
        }
        if links || settings {
            self.mend_settings()?;
        }
        // A link that goes down takes its routes along, and of those nothing is told.
        if links || addresses || local_routes {
            self.mend_routes().await?;
        }
        if addresses {
            self.conflicts.follow(&self.host, &self.config).await?;
        }
        if links || addresses || routes {
            let before = self.sources.revision;
            self.follow_routes().await?;
            if self.sources.revision != before {
                self.replan().await;
            }
        } else if neighbours {
            self.host.look_at_neighbours().await?;
        }
        if self.host.restored_neighbours() > 0 {
            let done = Ok::<_, HostError>(());
            self.repairs.note(RepairKind::Neighbour, "next hops", done, Instant::now());
        }
        Ok(())
    }

    async fn follow_interfaces(&mut self) -> anyhow::Result<()> {
        let present = self.host.interfaces().await?;
        if self.interfaces.follow(&mut self.kernel, &present) {
            self.forward(&present)?;
        }
        self.meet_neighbours(&present).await?;
        Ok(self.reconciler.set_vlans(&present)?)
    }

    /// What others took down of the data path. Asking for it costs some fifty system calls.
    pub(crate) fn guard(&mut self) {
        for damage in self.kernel.damage() {
            let kind = match damage {
                Damage::Program { .. } => RepairKind::Program,
                Damage::Listeners => RepairKind::Listeners,
                Damage::MapName(_) | Damage::LinkName(_) | Damage::ListenersName(_) => {
                    RepairKind::Pin
                }
            };
            let (thing, now) = (damage.to_string(), Instant::now());
            if self.repairs.is_due(kind, &thing, now) {
                let done = self.kernel.mend(&damage, self.interfaces.mode);
                self.repairs.note(kind, &thing, done, now);
                self.interfaces.show(&self.kernel);
            }
        }
    }

    async fn mend_routes(&mut self) -> anyhow::Result<()> {
        for address in self.host.lost_addresses().await? {
            let (thing, now) = (address.to_string(), Instant::now());
            if self.repairs.is_due(RepairKind::Route, &thing, now) {
                match self.host.restore_address(address).await {
                    // An interface had it until now.
                    Ok(false) => {}
                    done => self.repairs.note(RepairKind::Route, &thing, done.map(drop), now),
                }
            }
        }
        Ok(())
    }

    fn mend_settings(&mut self) -> anyhow::Result<()> {
        for (key, value) in self.host.lost_settings()? {
            let now = Instant::now();
            if self.repairs.is_due(RepairKind::Setting, &key, now) {
                let done = self.host.restore_setting(&key, &value);
                self.repairs.note(RepairKind::Setting, &key, done, now);
            }
        }
        Ok(())
    }
}
