//! Keeps the kernel's tables as the fleet wants them.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{self, Instant};
use tracing::debug;

use super::sources::Sources;
use crate::{
    control::{self, Circumstances, Desired, Slots},
    datapath::{self, DatapathError},
    fleet::Fleet,
    host::{Interface, Vlan},
    load::Load,
    tables::{Capacity, Command},
};

/// A plan may reuse what the one before it gave up: ring space, ids. For so long packets that
/// began under the older tables have time to finish, which takes the kernel microseconds (it does
/// not switch tasks amid a packet, but a virtual CPU may be taken away from it).
const GRACE: Duration = Duration::from_millis(50);

pub(super) struct Steering {
    pub(super) slots: Slots,
    tables: datapath::Tables,
    desired: Desired,
    actual: control::Tables,
    load: Load,
    maglev_size: u32,
    /// When the last plan's packets are through.
    settled: Instant,
}

impl Steering {
    pub(super) fn new(
        tables: datapath::Tables,
        load: Load,
        capacity: Capacity,
        maglev_size: u32,
    ) -> Self {
        Self {
            slots: Slots::new(capacity),
            tables,
            desired: Desired::default(),
            actual: control::Tables::new(capacity.rings),
            load,
            maglev_size,
            settled: Instant::now(),
        }
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

    /// Brings the tables to what `fleet` wants now.
    ///
    /// # Errors
    ///
    /// There is no room, or a table refused a command. The commands before it stand, each of them
    /// safe by itself, and the next call goes on from there.
    pub(super) async fn replan(&mut self, fleet: &Fleet, sources: &Sources) -> anyhow::Result<()> {
        let circumstances = Circumstances {
            sources: &sources.known,
            sources_revision: sources.revision,
            maglev_size: self.maglev_size,
            now: std::time::Instant::now(),
        };
        self.desired.update(fleet, &circumstances, &mut self.slots)?;
        let load = self.load.clone();
        let has_connections = |slot| load.count(slot) > 0;
        self.desired.retire(circumstances.now, has_connections, &mut self.slots);
        loop {
            time::sleep_until(self.settled).await;
            let plan = control::plan(&self.desired, &self.actual)?;
            self.carry_out(&plan.commands)?;
            let more = self.desired.settle(plan);
            self.slots.settle(has_connections);
            if !more {
                return Ok(());
            }
        }
    }

    fn carry_out(&mut self, commands: &[Command]) -> anyhow::Result<()> {
        if commands.is_empty() {
            return Ok(());
        }
        self.settled = Instant::now() + GRACE;
        for command in commands {
            self.tables.apply(command).context("cannot change the kernel's tables")?;
            self.actual.apply(command);
        }
        self.settled = Instant::now() + GRACE;
        debug!(commands = commands.len(), "changed the kernel's tables");
        Ok(())
    }
}
