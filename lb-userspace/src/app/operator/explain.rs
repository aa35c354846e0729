//! `lb explain`: translates what the kernel program decides about a packet.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_common::{
    abi::{Decision, Flow, FlowKey, PENDING, met, outcome, path},
    parse::{ICMP, ICMPV6, L3, TCP, UDP},
    verdict::Reason,
};

use super::{
    drop_remedies,
    flow_list::{ServiceNames, backend, mode_name, socket, source},
};
use crate::{
    admin::{DecisionStatus, Explanation, FlowKnown, OutgoingPacket, PacketQuery, Transport},
    datapath::{Explained, ForwardedFrame, ProbeFrame, Watcher, echo, interface_name},
};

/// Runs a packet through the loaded program and returns the result. Blocks.
///
/// # Errors
///
/// The query makes no sense. The text is for the operator.
pub(crate) fn explain(
    watcher: &Watcher,
    names: &ServiceNames,
    question: &PacketQuery,
    interface: &str,
) -> Result<Explanation, String> {
    /// What a program without fragments takes of a page.
    const LONGEST: usize = 3000;
    let PacketQuery { from, to, protocol, flags, size, .. } = *question;
    if from.is_ipv4() != to.is_ipv4() {
        return Err(format!("{from} and {to} are of different families"));
    }
    if size > LONGEST {
        return Err(format!("a packet of {size} bytes is longer than can be tried ({LONGEST})"));
    }
    let protocol = match protocol {
        Transport::Tcp => TCP,
        Transport::Udp => UDP,
        Transport::Icmp => echo(&from),
    };
    let probe = ProbeFrame { from, to, protocol, flags: flags.into(), size };
    let smallest = ProbeFrame { size: 0, ..probe }.frame().len() - L3;
    if (1..smallest).contains(&size) {
        let protocol = question.protocol.name();
        return Err(format!(
            "a packet of {size} bytes has no room for its headers: {protocol} from {from} has at least {smallest}"
        ));
    }
    let explained = watcher.explain(&probe.frame(), interface);
    let Explained { decision, frame } = explained.map_err(|error| {
        let error = anyhow::Error::from(error);
        format!("the packet cannot be tried: {error:#}")
    })?;
    // The key of the packet as queried: for a plain packet the program keeps no key.
    let key = key(&probe);
    let leaves = (decision.egress != 0).then(|| leaves(&decision, &frame)).flatten();
    let status = status(&decision, Some(&key), names);
    let words = status.reason.as_deref().and_then(drop_remedies::on);
    Ok(Explanation {
        leaves,
        meaning: words.map(|(meaning, _)| meaning.to_owned()),
        advice: words.map(|(_, advice)| advice.to_owned()),
        decision: status,
        warning: None,
    })
}

/// Adds what is wrong with the packet's backend.
pub(crate) fn add_warning(
    explanation: Explanation,
    problems: &BTreeMap<IpAddr, Arc<str>>,
) -> Explanation {
    let backend = explanation.decision.backend;
    let problem = backend.and_then(|backend| problems.get(&backend.ip()));
    Explanation { warning: problem.map(ToString::to_string), ..explanation }
}

fn key(probe: &ProbeFrame) -> FlowKey {
    use lb_common::abi::Address;
    FlowKey {
        src: Address::of(probe.from.ip()),
        dst: Address::of(probe.to.ip()),
        src_port: probe.from.port().to_be_bytes(),
        dst_port: probe.to.port().to_be_bytes(),
        protocol: probe.protocol,
    }
}

fn leaves(decision: &Decision, frame: &[u8]) -> Option<OutgoingPacket> {
    let ForwardedFrame { from, to, mac, .. } = ForwardedFrame::read(frame)?;
    Some(OutgoingPacket {
        from,
        to,
        interface: interface(decision.egress),
        vlan: u16::try_from(decision.vlan).ok().filter(|&vlan| vlan != 0),
        next_hop: mac.map(|byte| format!("{byte:02x}")).join(":"),
    })
}

fn interface(index: u32) -> String {
    interface_name(index).unwrap_or_else(|| format!("#{index}"))
}

/// Returns the key of a traced packet, if it has one.
pub(crate) fn traced_key(decision: &Decision) -> Option<FlowKey> {
    if decision.met & met::PARSED != 0 {
        Some(decision.key).filter(|key| *key != FlowKey::unread())
    } else if decision.met & met::FLOW == 0 {
        None
    } else if decision.met & met::ANSWERS != 0 {
        // It was parsed as a client's packet first, and then as a backend's.
        Some(decision.flow.answer())
    } else {
        Some(decision.flow.question())
    }
}

/// Translates a decision about the packet with `key`.
pub(crate) fn status(
    decision: &Decision,
    key: Option<&FlowKey>,
    names: &ServiceNames,
) -> DecisionStatus {
    let flow = key.and_then(|key| flow(decision, key));
    let known = known(decision, flow);
    let is_new = known == FlowKnown::New;
    let is_tcp = key.is_some_and(|key| key.protocol == TCP) && decision.met & met::PARSED != 0;
    let chose = is_new && decision.met & met::RING != 0;
    let slot = decision.slot.wrapping_sub(decision.ring.offset());
    let length = decision.ring.length();
    let mut services = services(decision, key, flow, names).into_iter();
    DecisionStatus {
        at_ns: decision.at,
        protocol: key.and_then(|key| Transport::of(key.protocol)),
        from: key.map(|key| end(key.src, key.src_port, key.protocol)),
        to: key.map(|key| end(key.dst, key.dst_port, key.protocol)),
        ethertype: decision.ethertype as u16,
        flags: is_tcp.then_some(decision.flags as u8),
        length: decision.length,
        interface: interface(decision.ingress),
        service: services.next(),
        sharing: services.collect(),
        flow: known,
        ring_slot: (chose && slot < length).then_some([slot, length]),
        regions_full: if chose { decision.passed } else { 0 },
        backend: flow.map(backend),
        source: flow.and_then(source),
        mode: flow.map(|flow| mode_name(flow.mode()).to_owned()),
        closing: decision.met & met::CLOSING != 0,
        revived: decision.met & met::REVIVED != 0,
        evicts: decision.met & met::EVICTED != 0,
        verdict: verdict(decision.outcome).to_owned(),
        reason: reason(decision).map(|reason| reason.name().to_owned()),
    }
}

/// Returns the service of the packet, or all services that it may be for.
fn services(
    decision: &Decision,
    key: Option<&FlowKey>,
    flow: Option<&Flow>,
    names: &ServiceNames,
) -> Vec<String> {
    let steered = decision.met & met::VIP != 0 && decision.path == path::STEER;
    let id = flow.map(|flow| flow.service).or(steered.then_some(decision.service));
    let at = |key: &FlowKey| {
        let to = end(key.dst, key.dst_port, key.protocol);
        names.at(to, key.protocol).map(str::to_owned).collect()
    };
    match id.and_then(|id| names.service(id)) {
        Some(name) => vec![name.to_owned()],
        None => key.map(at).unwrap_or_default(),
    }
}

fn end(address: lb_common::abi::Address, port: [u8; 2], protocol: u32) -> SocketAddr {
    let port = if matches!(protocol, ICMP | ICMPV6) { [0; 2] } else { port };
    socket(address, port)
}

/// Returns the flow that was looked up last, if it is the packet's own. An ICMP error belongs to
/// the flow that it quotes.
fn flow<'a>(decision: &'a Decision, key: &FlowKey) -> Option<&'a Flow> {
    let flow = &decision.flow;
    let met = decision.met & met::FLOW != 0;
    let message = matches!(key.protocol, ICMP | ICMPV6) && decision.outcome == outcome::STEER;
    let own = flow.question() == *key || flow.answer() == *key || message;
    (met && own).then_some(flow)
}

fn known(decision: &Decision, flow: Option<&Flow>) -> FlowKnown {
    let Some(flow) = flow else { return FlowKnown::None };
    let pending = flow.number & PENDING != 0;
    match () {
        () if decision.met & met::OPENED != 0 => FlowKnown::New,
        () if pending => FlowKnown::HalfOpen,
        () if decision.met & met::PROMOTED != 0 => FlowKnown::Promoted,
        () => FlowKnown::Established,
    }
}

const fn verdict(outcome: u32) -> &'static str {
    match outcome {
        outcome::PASS => "pass",
        outcome::PROXY => "proxy",
        outcome::STEER => "steer",
        outcome::REPLY => "reply",
        outcome::ANSWER => "answer",
        _ => "drop",
    }
}

fn reason(decision: &Decision) -> Option<Reason> {
    let refused = matches!(decision.outcome, outcome::ANSWER | outcome::DROP);
    let reason = Reason::ALL.get(decision.reason as usize);
    reason.copied().filter(|_| refused)
}

#[cfg(test)]
mod tests {
    use lb_common::abi::Address;

    use super::*;
    use crate::{control::StableIds, fleet::Fleet, tables::Capacity};

    fn names() -> ServiceNames {
        let capacity = Capacity { services: 1, backends: 1, loads: 1, rings: 0 };
        ServiceNames::of(&Fleet::default(), &StableIds::new(capacity))
    }

    #[test]
    fn a_frame_without_addresses_is_told_without() {
        let arp = Decision {
            key: FlowKey::unread(),
            met: met::PARSED,
            ethertype: 0x0806,
            length: 42,
            ..Decision::default()
        };
        assert_eq!(traced_key(&arp), None);
        let told = status(&arp, traced_key(&arp).as_ref(), &names());
        assert_eq!((told.from, told.to, told.protocol, told.ethertype), (None, None, None, 0x0806));
        // Nor is what an earlier packet left taken for its own.
        let address = Address::of([10, 0, 0, 1].into());
        let left = Decision { flow: Flow { client: address, ..Flow::default() }, met: 0, ..arp };
        assert_eq!(traced_key(&left), None);
    }
}
