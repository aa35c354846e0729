//! `lb flows`: lists the flow table.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_common::{
    abi::{Address, Flow, Slot, flow_state, mode},
    tables::Part,
};

use crate::{
    admin::{FlowList, FlowQuery, FlowState, FlowStatus, FlowTraits, Selector, Transport},
    control::{self, StableIds},
    datapath::{FlowTable, clock},
    fleet::Fleet,
    service::{Forwarding, Service},
};

/// The names of services.
pub(crate) struct ServiceNames {
    /// By their id in the kernel's tables.
    steered: HashMap<u32, Arc<str>>,
    services: Vec<Arc<Service>>,
}

impl ServiceNames {
    pub(crate) fn of(fleet: &Fleet, ids: &StableIds) -> Self {
        let ids = ids.services().map(|(name, id)| (id, name.clone()));
        let services = fleet.services.iter().map(|running| running.service.clone());
        Self { steered: ids.collect(), services: services.collect() }
    }

    /// Returns the name of a service, also of one that is no longer configured as long as anything
    /// refers to it. `None`: the id has no service.
    pub(crate) fn service(&self, id: u32) -> Option<&str> {
        self.steered.get(&id).map(|name| &**name)
    }

    /// Returns the services that declare a port of an announced address: host names may tell
    /// several apart. Includes proxied ports, which have no id.
    pub(crate) fn at(&self, vip: SocketAddr, protocol: u32) -> impl Iterator<Item = &str> {
        let has_port = move |service: &Service| {
            service.ports.iter().any(|port| port.numbers().contains(&vip.port()))
        };
        let found = self.services.iter().filter(move |service| {
            u32::from(service.protocol.number()) == protocol
                && service.addresses.contains(&vip.ip())
                && has_port(service)
        });
        found.map(|service| &*service.name)
    }

    /// # Errors
    ///
    /// The selected service does not exist. The text is for the operator.
    pub(crate) fn check(&self, selector: &Selector) -> Result<(), String> {
        match &selector.service {
            Some(wanted)
                if !self.services.iter().any(|service| *service.name == **wanted)
                    && !self.steered.values().any(|name| **name == **wanted) =>
            {
                Err(format!("there is no service \"{wanted}\""))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the flows that the operator selects.
pub(crate) fn list(table: &FlowTable, names: &ServiceNames, query: &FlowQuery) -> FlowList {
    let now = clock::now();
    let wanted = table.iter().filter(|(part, slot, flow)| {
        let traits = traits(flow, names, Some(state(*part, *slot)));
        query.selector.takes(&traits)
    });
    // Keeps no more than are shown: there may be millions.
    let (mut latest, mut count) = (BinaryHeap::new(), 0_u64);
    for (part, slot, flow) in wanted {
        count += 1;
        latest.push(Reverse(Listed {
            opened: flow.opened,
            status: status(part, slot, &flow, names, now),
        }));
        if latest.len() > query.limit {
            latest.pop();
        }
    }
    let shown = latest.into_sorted_vec();
    let flows: Vec<_> = shown.into_iter().map(|Reverse(listed)| listed.status).collect();
    FlowList { more: count - flows.len() as u64, flows }
}

/// In the order of opening.
struct Listed {
    opened: u64,
    status: FlowStatus,
}

impl Ord for Listed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.opened.cmp(&other.opened)
    }
}

impl PartialOrd for Listed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.opened == other.opened
    }
}

impl Eq for Listed {}

/// Returns the properties that a selector looks at.
pub(crate) fn traits<'a>(
    flow: &Flow,
    names: &'a ServiceNames,
    state: Option<FlowState>,
) -> FlowTraits<'a> {
    FlowTraits {
        client: Some(socket(flow.client, flow.client_port)),
        vip: Some(socket(flow.vip, flow.vip_port)),
        backend: Some(backend(flow)),
        service: names.service(flow.service),
        protocol: Transport::of(flow.protocol),
        state,
    }
}

/// Returns the state of a flow, from its slot.
pub(crate) fn state(part: Part, slot: Slot) -> FlowState {
    match part {
        _ if slot.state() & flow_state::CLOSED == flow_state::CLOSED => FlowState::Closed,
        Part::Pending => FlowState::HalfOpen,
        Part::Established => FlowState::Established,
    }
}

fn status(part: Part, slot: Slot, flow: &Flow, names: &ServiceNames, now: u64) -> FlowStatus {
    let millis = |then: u64| now.saturating_sub(then) / 1_000_000;
    FlowStatus {
        protocol: Transport::of(flow.protocol).unwrap_or(Transport::Tcp),
        client: socket(flow.client, flow.client_port),
        vip: socket(flow.vip, flow.vip_port),
        backend: backend(flow),
        source: source(flow),
        service: names.service(flow.service).map(str::to_owned),
        state: state(part, slot),
        mode: mode_name(flow.mode()).to_owned(),
        age_ms: millis(flow.opened),
        client_idle_ms: millis(flow.seen),
        backend_idle_ms: (flow.answered != 0).then(|| millis(flow.answered)),
    }
}

/// Returns the backend, as the configuration has it.
pub(crate) fn backend(flow: &Flow) -> SocketAddr {
    socket(flow.backend_address, flow.server_port())
}

/// Returns the client address that the backend sees.
pub(crate) fn source(flow: &Flow) -> Option<SocketAddr> {
    (flow.mode() == mode::NAT).then(|| socket(flow.source, flow.source_port))
}

/// Returns what the configuration calls a flow's forwarding mode.
pub(crate) fn mode_name(mode: u32) -> &'static str {
    let known = Forwarding::NAMED.iter().find(|(_, it)| control::mode_of(*it) == mode);
    known.map_or("unknown", |(name, _)| *name)
}

/// Converts from the form of the packet path.
pub(crate) fn socket(address: Address, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(ip(address), u16::from_be_bytes(port))
}

pub(crate) fn ip(address: Address) -> IpAddr {
    IpAddr::from(address.bytes()).to_canonical()
}
