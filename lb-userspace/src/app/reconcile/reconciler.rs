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
    control::{self, Circumstances, Departure, Desired, Index, Leaver, StableIds},
    datapath::{self, DatapathError, Declared, Lifetimes, ServerAnswers},
    fleet::Fleet,
    host::{Interface, InterfaceStack, Vlan, stacks},
    load::{Load, LoadSlot},
    service::{Path, Port},
    settings::{AnswerNeighbours, Config, Encap, FlowTimeouts, Geography, Node},
    tables::Command,
};

/// A plan may reuse what the one before it gave up: ring space, ids. For so long packets that
/// began under the older tables have time to finish, which takes the kernel microseconds (it does
/// not switch tasks amid a packet, but a virtual CPU may be taken away from it).
const GRACE: Duration = Duration::from_millis(50);

/// In which a server that left has surely left the rings, however large, and no packet is under way
/// to open a flow to it.
const UNDER_WAY: Duration = Duration::from_secs(5);

pub(crate) struct Reconciler {
    pub(crate) ids: StableIds,
    tables: datapath::Tables,
    desired: Desired,
    actual: control::ActualTables,
    ledger: IdLog,
    load: Load,
    lifetimes: Lifetimes,
    swept: watch::Receiver<SweepSummary>,
    /// The node's.
    timeouts: FlowTimeouts,
    maglev_size: Option<u32>,
    encap: Encap,
    geography: Geography,
    /// Nobody is told on a link where the announced addresses are.
    silent: bool,
    /// When the last plan's packets are through.
    settled: Instant,
}

impl Reconciler {
    /// Goes on with what the tables hold: nothing that stays as it is is written again, and
    /// everything keeps its index. `departure`: when a server left, if it has.
    ///
    /// # Errors
    ///
    /// The tables cannot be read.
    pub(crate) fn resume(
        tables: datapath::Tables,
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
            info!(entries = contents.len(), "going on with the tables that an earlier lb filled");
        }
        let mut ids = match ledger.assigned() {
            Some(assigned) => StableIds::resume(capacity, &assigned),
            None => {
                if !contents.is_empty() {
                    warn!(
                        "the notes on whose these entries are were lost: those in use are recognised, and of others the counters end"
                    );
                }
                let recognised = control::recognise(&config.services, &actual, &contents);
                StableIds::beyond(capacity, &actual, &recognised, has_connections)
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
            silent: config.node.answer_neighbours == AnswerNeighbours::Never,
            settled,
        })
    }

    /// Whether servers that left the configuration still have flows.
    pub(crate) fn is_retiring(&self) -> bool {
        self.desired.is_retiring()
    }

    /// Servers that left the configuration and still have flows.
    pub(crate) fn leavers(&self) -> Vec<Leaver> {
        self.desired.leavers(&self.ids)
    }

    /// The servers whose connections go on, wanted or not.
    pub(crate) fn busy_servers(&self) -> impl Iterator<Item = IpAddr> {
        let busy = self.ids.busy(|slot| self.load.count(slot) > 0);
        busy.map(|server| server.ip())
    }

    /// What the server of a load slot has answered, as the last sweep saw it.
    pub(crate) fn heard(&self, slot: LoadSlot) -> ServerAnswers {
        self.swept.borrow().heard(slot)
    }

    /// Some of the clients that are answered through us now.
    pub(crate) fn clients(&self) -> Vec<IpAddr> {
        self.swept.borrow().sample.clients().to_vec()
    }

    /// Tells the kernel program which of `interfaces` are VLAN devices, and of what.
    ///
    /// # Errors
    ///
    /// There are more of them than the table has room for.
    pub(crate) fn set_vlans(&mut self, interfaces: &[Interface]) -> Result<(), DatapathError> {
        for InterfaceStack { index, name, ground, tags } in stacks(interfaces) {
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

    /// Brings the tables to what `fleet` wants now.
    ///
    /// # Errors
    ///
    /// There is no room, or a table refused a command. The commands before it stand, each of them
    /// safe by itself, and the next call goes on from there.
    pub(crate) async fn replan(&mut self, fleet: &Fleet, sources: &Sources) -> anyhow::Result<()> {
        self.tables.set_source_pool(sources.pool.addresses())?;
        let circumstances = Circumstances {
            sources: &sources.known,
            sources_revision: sources.revision,
            maglev_size: self.maglev_size,
            encap: &self.encap,
            geography: &self.geography,
            silent: self.silent,
            now: std::time::Instant::now(),
        };
        self.desired.update(fleet, &circumstances, &mut self.ids)?;
        self.set_lifetimes(fleet);
        let load = self.load.clone();
        let has_connections = |slot| load.count(slot) > 0;
        // Others may count at the same place.
        let swept = self.swept.clone();
        let has_flows = |slot, id, seen| {
            has_connections(slot) && swept.borrow().may_name(Index::Backend(id), seen + UNDER_WAY)
        };
        self.desired.retire(circumstances.now, has_flows, &mut self.ids);
        loop {
            time::sleep_until(self.settled).await;
            let plan = control::plan(&self.desired, &self.actual)?;
            self.ledger.note(&mut self.ids);
            if let Some(resized) = control::resized(&plan, &self.desired, &self.actual) {
                ring_changes::warn_of(&resized);
            }
            self.carry_out(&plan.commands)?;
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

    /// Has flows to addresses and ports end that no steered service has any more.
    pub(crate) fn declare(&self, fleet: &Fleet) {
        let mut declared = Declared::since(datapath::clock::now());
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

    /// Services that left go by the node's timeouts.
    fn set_lifetimes(&self, fleet: &Fleet) {
        let services = fleet.services.iter().map(|running| &running.service);
        let differ = services.filter(|it| it.steering.flow_timeouts != self.timeouts);
        let differ = differ.flat_map(|service| {
            let ids = self.ids.services_of(&service.name);
            ids.map(|id| (id, service.steering.flow_timeouts))
        });
        self.lifetimes.set(self.timeouts, differ);
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
