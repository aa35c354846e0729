//! Keeps the kernel's tables as the fleet wants them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use lb_common::abi::{Address, SERVICE_TAG};
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tracing::{debug, info, warn};

use super::{ring_changes, sources::Sources, sweep::SweepSummary};
use crate::app::state::id_log::IdLog;
use crate::{
    control::{self, Departure, Desired, Index, LeavingServer, StableIds, UpdateContext},
    datapath::{self, DatapathError, DeclaredPorts, Lifetimes, ServerAnswers},
    fleet::Fleet,
    host::{Interface, InterfaceStack, Vlan, stacks},
    load::{Load, LoadSlot},
    service::{Path, Port},
    settings::{AnswerNeighbours, Config, Encap, FlowTimeouts, Geography, Node},
    tables::{Capacity, Command},
};

/// A plan may reuse what the one before it freed: ring space and ids. The pause lets packets finish
/// that began under the older tables. The kernel needs microseconds for that, since it does not
/// switch tasks within a packet, but a virtual CPU may be suspended.
const GRACE: Duration = Duration::from_millis(50);

/// The time in which a server that left has left every ring, however large, and no packet that
/// would open a flow to it is under way.
const UNDER_WAY: Duration = Duration::from_secs(5);

pub(crate) struct Reconciler {
    pub(crate) ids: StableIds,
    tables: datapath::KernelTables,
    desired: Desired,
    actual: control::ActualTables,
    ledger: IdLog,
    load: Load,
    lifetimes: Lifetimes,
    swept: watch::Receiver<SweepSummary>,
    /// The node's default timeouts.
    timeouts: FlowTimeouts,
    maglev_size: Option<u32>,
    encap: Encap,
    geography: Geography,
    /// Changes with what all services' tables depend on.
    settings_revision: u64,
    capacity: Capacity,
    /// Nobody on a link is told where the announced addresses are.
    silent: bool,
    /// When all packets have passed that began before the last plan.
    settled: Instant,
}

impl Reconciler {
    /// Continues with what the tables hold: entries that stay as they are are not written again,
    /// and everything keeps its id. `departure` returns when a server left, if it has.
    ///
    /// # Errors
    ///
    /// The tables cannot be read.
    pub(crate) fn resume(
        tables: datapath::KernelTables,
        load: Load,
        ledger: IdLog,
        lifetimes: Lifetimes,
        swept: watch::Receiver<SweepSummary>,
        config: &Config,
        departure: impl Fn(&Arc<str>, SocketAddr) -> Departure,
    ) -> Result<Self, DatapathError> {
        let capacity = tables.capacity(load.slots())?;
        let contents = tables.contents()?;
        let actual = control::ActualTables::holding(capacity.rings, &contents);
        let has_connections = |slot: LoadSlot| load.count(slot) > 0;
        if !contents.is_empty() {
            info!(entries = contents.len(), "continuing with the tables that an earlier lb filled");
        }
        let mut ids = match ledger.assigned() {
            Some(assigned) => StableIds::resume(capacity, &assigned),
            None => {
                if !contents.is_empty() {
                    warn!(
                        "the file with the ids of these entries was lost: entries in use are \
                         recognised, and the counters of others end"
                    );
                }
                let recognised = control::recognise(&config.services, &actual, &contents);
                StableIds::recover(capacity, &actual, &recognised, has_connections)
            }
        };
        let desired = Desired::resume(&actual, departure, &mut ids);
        let settled = Instant::now();
        let Node { maglev_table_size: maglev_size, encap, flow_timeouts: timeouts, .. } =
            &config.node;
        Ok(Self {
            ids,
            tables,
            desired,
            actual,
            ledger,
            load,
            lifetimes,
            swept,
            timeouts: *timeouts,
            maglev_size: *maglev_size,
            encap: *encap,
            geography: config.geography(),
            settings_revision: 0,
            capacity,
            silent: config.node.answer_neighbours == AnswerNeighbours::Never,
            settled,
        })
    }

    /// Goes by another configuration from the next plan on.
    pub(crate) fn configure(&mut self, config: &Config) {
        let Node { maglev_table_size, encap, flow_timeouts, answer_neighbours, .. } = config.node;
        let geography = config.geography();
        if (maglev_table_size, encap) != (self.maglev_size, self.encap)
            || geography != self.geography
        {
            self.settings_revision += 1;
        }
        self.maglev_size = maglev_table_size;
        self.encap = encap;
        self.geography = geography;
        self.timeouts = flow_timeouts;
        self.silent = answer_neighbours == AnswerNeighbours::Never;
    }

    /// Returns why the kernel's tables have no room for `config`, if they have none.
    pub(crate) fn lacks_room(&self, config: &Config) -> Option<String> {
        let needs = control::required_capacity(&config.services, config.node.maglev_table_size);
        let rooms = [
            ("steered services", needs.services, self.capacity.services),
            ("backends of steered services", needs.backends, self.capacity.backends),
            ("servers", needs.loads, self.capacity.loads),
            ("slots of rings", needs.rings, self.capacity.rings),
        ];
        let (what, needs, room) = rooms.into_iter().find(|(_, needs, room)| needs > room)?;
        Some(format!("{needs} {what} are wanted, and the kernel's tables have room for {room}"))
    }

    /// Reads the tables back: another process may have changed them. The next plan puts right what
    /// differs.
    ///
    /// # Errors
    ///
    /// The tables cannot be read.
    pub(crate) fn read_back(&mut self) -> Result<(), DatapathError> {
        let contents = self.tables.contents()?;
        self.actual = control::ActualTables::holding(self.capacity.rings, &contents);
        self.desired.touch_all(&self.actual);
        self.ledger.start_over();
        Ok(())
    }

    /// Returns whether servers that left the configuration still have flows.
    pub(crate) fn is_retiring(&self) -> bool {
        self.desired.is_retiring()
    }

    /// Returns the servers that left the configuration and still have flows.
    pub(crate) fn leavers(&self) -> Vec<LeavingServer> {
        self.desired.leavers(&self.ids)
    }

    /// Returns the servers with live connections, configured or not.
    pub(crate) fn busy_servers(&self) -> impl Iterator<Item = IpAddr> {
        let busy = self.ids.busy(|slot| self.load.count(slot) > 0);
        busy.map(|server| server.ip())
    }

    /// Returns what the server of a load slot has answered, as of the last sweep.
    pub(crate) fn answers(&self, slot: LoadSlot) -> ServerAnswers {
        self.swept.borrow().answers(slot)
    }

    /// Returns a sample of the clients with live flows.
    pub(crate) fn clients(&self) -> Vec<IpAddr> {
        self.swept.borrow().sample.clients().to_vec()
    }

    /// Tells the kernel program which of `interfaces` are VLAN devices, and on which interface.
    ///
    /// # Errors
    ///
    /// The table has no room for all of them.
    pub(crate) fn set_vlans(&mut self, interfaces: &[Interface]) -> Result<(), DatapathError> {
        for InterfaceStack { index, name, ground, tags } in stacks(interfaces) {
            let tag = |vlan: &Vlan| vlan.id | if vlan.service_tag { SERVICE_TAG } else { 0 };
            match &tags[..] {
                [outer] => self.tables.set_vlan(index, ground, [tag(outer), 0])?,
                [outer, inner] => self.tables.set_vlan(index, ground, [tag(outer), tag(inner)])?,
                _ => warn!(
                    interface = name,
                    "{} VLAN tags, of at most two: packets steered over this interface are lost",
                    tags.len()
                ),
            }
        }
        Ok(())
    }

    /// Brings the tables to what `fleet` wants now.
    ///
    /// # Errors
    ///
    /// There is no room, or a table refused a command. The commands before it stand, each of them
    /// safe by itself, and the next call continues from there.
    pub(crate) async fn replan(&mut self, fleet: &Fleet, sources: &Sources) -> anyhow::Result<()> {
        self.tables.set_source_pool(sources.pool.addresses())?;
        let circumstances = UpdateContext {
            sources: &sources.known,
            sources_revision: sources.revision,
            maglev_size: self.maglev_size,
            encap: &self.encap,
            geography: &self.geography,
            settings_revision: self.settings_revision,
            silent: self.silent,
            now: std::time::Instant::now(),
        };
        self.desired.update(fleet, &circumstances, &mut self.ids)?;
        self.set_lifetimes(fleet);
        let load = self.load.clone();
        let has_connections = |slot| load.count(slot) > 0;
        // Other servers may count in the same slot.
        let swept = self.swept.clone();
        let has_flows = |slot, id, seen| {
            has_connections(slot) && swept.borrow().may_name(Index::Backend(id), seen + UNDER_WAY)
        };
        self.desired.retire(circumstances.now, has_flows, &mut self.ids);
        loop {
            time::sleep_until(self.settled).await;
            let plan = control::plan(&self.desired, &self.actual)?;
            self.ledger.note(&mut self.ids);
            if let Some(resized) = control::ring_resize(&plan, &self.desired, &self.actual) {
                ring_changes::warn_resized(&resized);
            }
            self.apply(&plan.commands)?;
            let more = self.desired.settle(plan);
            let swept = self.swept.borrow();
            let now = std::time::Instant::now();
            let may_name = |index, since| swept.may_name(index, since + GRACE);
            self.ids.settle(now, has_connections, may_name);
            if !more {
                return Ok(());
            }
        }
    }

    /// Ends flows to addresses and ports that no steered service has any more.
    pub(crate) fn declare(&self, fleet: &Fleet) {
        let mut declared = DeclaredPorts::since(datapath::clock::now());
        let services = fleet.services.iter().map(|running| &running.service);
        for service in services.filter(|service| service.is_steered()) {
            let steered = service.ports.iter().filter(|port| port.path() == Path::Steer);
            for ports in steered.map(Port::numbers) {
                for &address in &service.addresses {
                    let protocol = service.protocol.number().into();
                    declared.add(Address::of(address), protocol, ports.clone());
                }
            }
        }
        self.lifetimes.declare(declared);
    }

    /// Sets the timeouts of flows. Those of removed services get the node's timeouts.
    fn set_lifetimes(&self, fleet: &Fleet) {
        let services = fleet.services.iter().map(|running| &running.service);
        let differ = services.filter(|it| it.steering.flow_timeouts != self.timeouts);
        let differ = differ.flat_map(|service| {
            let ids = self.ids.services_of(&service.name);
            ids.map(|id| (id, service.steering.flow_timeouts))
        });
        self.lifetimes.set(self.timeouts, differ);
    }

    fn apply(&mut self, commands: &[Command]) -> anyhow::Result<()> {
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
