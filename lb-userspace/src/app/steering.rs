//! Keeps the kernel's tables as the fleet wants them.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::time::{self, Instant};
use tracing::{debug, info, warn};

use super::notes::Notes;
use crate::{
    control::{self, Slots},
    datapath::{self, DatapathError},
    fleet::Fleet,
    host::{Interface, Vlan},
    load::{Load, LoadSlot},
    service::Service,
};

/// A plan may reuse what the one before it gave up: ring space, ids. For so long packets that
/// began under the older tables have time to finish, which takes the kernel microseconds (it does
/// not switch tasks amid a packet, but a virtual CPU may be taken away from it).
const GRACE: Duration = Duration::from_millis(50);

pub(super) struct Steering {
    pub(super) slots: Slots,
    tables: datapath::Tables,
    actual: control::Tables,
    notes: Notes,
    load: Load,
    /// When the last plan's packets are through.
    settled: Instant,
}

impl Steering {
    /// Goes on with what the tables hold: nothing that stays as it is is written again, and
    /// everything keeps its index.
    ///
    /// # Errors
    ///
    /// The tables cannot be read.
    pub(super) fn resume(
        tables: datapath::Tables,
        load: Load,
        notes: Notes,
        services: &[Arc<Service>],
    ) -> Result<Self, DatapathError> {
        let capacity = tables.capacity(load.slots())?;
        let contents = tables.contents()?;
        let actual = control::Tables::holding(capacity.rings, &contents);
        let has_connections = |slot: LoadSlot| load.count(slot) > 0;
        let assigned = notes.assigned();
        if !contents.is_empty() {
            info!(entries = contents.len(), "going on with the tables that an earlier lb filled");
            if assigned.is_none() {
                warn!("the notes of whose these entries are were lost: some counters may end");
            }
        }
        let slots = match assigned {
            Some(assigned) => Slots::resume(capacity, &assigned),
            None => Slots::rebuild(capacity, &actual, services, has_connections),
        };
        Ok(Self { slots, tables, actual, notes, load, settled: Instant::now() })
    }

    /// The servers whose connections go on, wanted or not.
    pub(super) fn busy_servers(&self) -> impl Iterator<Item = IpAddr> {
        let busy = self.slots.busy(|slot| self.load.count(slot) > 0);
        busy.map(|server| server.ip())
    }

    /// Tells the kernel program which of `interfaces` are VLAN devices, and of what.
    ///
    /// # Errors
    ///
    /// There are more of them than the table has room for.
    pub(super) fn set_vlans(&mut self, interfaces: &[Interface]) -> Result<(), DatapathError> {
        for interface in interfaces {
            if let Some(Vlan { parent, id }) = interface.vlan {
                self.tables.set_vlan(interface.index, parent, id)?;
            }
        }
        Ok(())
    }

    /// Brings the tables to what `fleet` wants now. For `sources` see [`control::desire`].
    ///
    /// # Errors
    ///
    /// There is no room, or a table refused a command. The commands before it stand, each of them
    /// safe by itself, and the next call goes on from there.
    pub(super) async fn replan(
        &mut self,
        fleet: &Fleet,
        sources: &HashMap<IpAddr, IpAddr>,
    ) -> anyhow::Result<()> {
        time::sleep_until(self.settled).await;
        let desired = control::desire(fleet, sources, &mut self.slots)?;
        let commands = control::plan(&desired, &self.actual)?;
        if self.slots.have_changed() {
            self.notes.write_assigned(&self.slots.assigned())?;
            self.slots.mark_noted();
        }
        for command in &commands {
            self.tables.apply(command).context("cannot change the kernel's tables")?;
            self.actual.apply(command);
        }
        let load = &self.load;
        self.slots.release(|slot| load.count(slot) > 0);
        if !commands.is_empty() {
            debug!(commands = commands.len(), "changed the kernel's tables");
            self.settled = Instant::now() + GRACE;
        }
        Ok(())
    }
}
