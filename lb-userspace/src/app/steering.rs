//! Keeps the kernel's tables as the fleet wants them.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use anyhow::Context as _;
use lb_common::abi::SERVICE_TAG;
use tokio::time::{self, Instant};
use tracing::{debug, warn};

use crate::{
    control::{self, Slots},
    datapath::{self, DatapathError},
    fleet::Fleet,
    host::{Interface, Stack, Vlan, stacks},
    load::Load,
    tables::Capacity,
};

/// A plan may reuse what the one before it gave up: ring space, ids. For so long packets that
/// began under the older tables have time to finish, which takes the kernel microseconds (it does
/// not switch tasks amid a packet, but a virtual CPU may be taken away from it).
const GRACE: Duration = Duration::from_millis(50);

pub(super) struct Steering {
    pub(super) slots: Slots,
    tables: datapath::Tables,
    actual: control::Tables,
    load: Load,
    /// When the last plan's packets are through.
    settled: Instant,
}

impl Steering {
    pub(super) fn new(tables: datapath::Tables, load: Load, capacity: Capacity) -> Self {
        Self {
            slots: Slots::new(capacity),
            tables,
            actual: control::Tables::new(capacity.rings),
            load,
            settled: Instant::now(),
        }
    }

    /// Tells the kernel program which of `interfaces` are VLAN devices, and of what.
    ///
    /// # Errors
    ///
    /// There are more of them than the table has room for.
    pub(super) fn set_vlans(&mut self, interfaces: &[Interface]) -> Result<(), DatapathError> {
        for Stack { index, name, ground, tags } in stacks(interfaces) {
            let tag = |vlan: &Vlan| vlan.id | if vlan.service_tag { SERVICE_TAG } else { 0 };
            match &tags[..] {
                [outer] => self.tables.set_vlan(index, ground, [tag(outer), 0])?,
                [outer, inner] => self.tables.set_vlan(index, ground, [tag(outer), tag(inner)])?,
                _ => warn!(
                    interface = name,
                    "{} VLAN tags: what is steered by way of it is lost, for there may be two",
                    tags.len()
                ),
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
