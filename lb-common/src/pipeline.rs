//! The packet's way: flow? → service? → pick → rewrite.

use crate::{
    abi::{FlowKey, mode, status},
    admit,
    arrival::{Arrival, Onward},
    flow::{Headers, Kind, L3, parse, tcp_flags},
    flow_table::{self, Found},
    icmp, next_hop, open,
    packet::Packet,
    rewrite::{self, Turn},
    tables::{Part, Tables},
    track,
    verdict::{Exit, Reason, Verdict, Way},
    vlan::{self, Tag},
};

/// Decides about a frame and rewrites it accordingly. A frame that passes is byte for byte what
/// it was; the bytes of a dropped one are undefined.
#[inline(always)]
pub fn balance<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let tag = vlan::pop(packet);
    let mut exit = Exit::default();
    match decide(packet, tables, tag, &mut exit) {
        Ok(way) => leave(packet, way, exit, tag),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Nearly every packet is of an established flow: a search by client, then one by backend. All
/// else is [`admit::other`]'s.
#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    tag: Tag,
    exit: &mut Exit,
) -> Result<Way, Reason> {
    let mut key = FlowKey::unread();
    let mut headers = Headers::unread();
    let parsed = parse(packet, &mut key, &mut headers);
    let mut hash = 0;
    if let Ok(Kind::Segment) = parsed {
        hash = flow_table::hash(&key, tables.seed());
        if let Some(found) = flow_table::of_client(tables, Part::Established, &key, hash) {
            let again = headers.flags & tcp_flags::SYN != 0 && track::gives_way(tables, found.flow);
            if !again {
                return to_backend(packet, tables, headers, found, exit);
            }
        } else if let Some(found) = flow_table::of_backend(tables, &key, hash) {
            return to_client(packet, tables, headers, found, exit);
        }
    }
    // In memory from here on; for the packets before, it need not be.
    let arrival = Arrival { key, hash, parsed, family: headers.family, flags: headers.flags, tag };
    let mut onward = Onward::default();
    let way = other(packet, tables, &arrival, &mut onward)?;
    if way != Way::Follow {
        *exit = onward.exit;
        return Ok(way);
    }
    let flow = flow_table::entry(tables, onward.flow).ok_or(Reason::Inconsistent)?;
    to_backend(packet, tables, headers, Found::read(flow), exit)
}

/// A packet of no established flow. Each step is a function of its own in the kernel, one after the
/// other: nested, they would need more stack than there is.
#[inline(always)]
fn other<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    arrival: &Arrival,
    onward: &mut Onward,
) -> Result<Way, Reason> {
    let way = match arrival.parsed {
        Ok(Kind::Segment) => admit::newcomer(packet, tables, arrival, onward)?,
        Ok(Kind::Message) => icmp::receive(packet, tables, &arrival.key, &mut onward.exit)?,
        Ok(Kind::Foreign) => Way::Pass,
        Err(reason) if tables.owns(&arrival.key.dst) => return Err(reason),
        Err(_) => Way::Pass,
    };
    match way {
        Way::Open => open::open(packet, tables, arrival, onward)?,
        Way::Promote => open::promote(tables, arrival, onward),
        _ => return Ok(way),
    }
    Ok(Way::Follow)
}

/// Gives the frame the tag that it leaves with.
#[inline(always)]
fn leave<P: Packet>(packet: &mut P, way: Way, exit: Exit, came_with: Tag) -> Verdict {
    let tag = if way == Way::Steer { Tag::vlan(exit.vlan) } else { came_with };
    if !vlan::push(packet, tag) {
        return Verdict::Drop(Reason::NoHeadroom);
    }
    match way {
        Way::Pass => Verdict::Pass,
        Way::Proxy => Verdict::Proxy,
        Way::Steer => Verdict::Steer { ifindex: exit.ifindex, vlan: exit.vlan },
        Way::Reply => Verdict::Reply,
        Way::Open | Way::Promote | Way::Follow => Verdict::Drop(Reason::Inconsistent),
    }
}

/// From the client of a known flow to its backend.
#[inline(always)]
fn to_backend<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: Headers,
    found: Found,
    exit: &mut Exit,
) -> Result<Way, Reason> {
    let flow = found.flow;
    rewrite::check_ttl(packet, headers.family)?;
    if headers.flags & (tcp_flags::FIN | tcp_flags::RST) != 0 {
        track::client(tables, headers.flags, flow);
    }
    let now = tables.now();
    flow.set_seen(now);
    let reach = tables.reach(flow.backend()).ok_or(Reason::Inconsistent)?;
    if reach.status() != status::HERE {
        return Err(Reason::NoBackend);
    }
    next_hop::of_reach(tables, reach, flow, now)?;
    let hop = reach.hop();
    if hop.mtu != 0 && packet.length() - L3 > hop.mtu as usize {
        return Err(Reason::TooBig);
    }
    if flow.mode() == mode::NAT {
        rewrite::nat(packet, flow.protocol(), headers.family, Turn::to_backend(flow))?;
    }
    rewrite::link(packet, hop)?;
    found.check()?;
    Ok(exit.through(hop))
}

/// From the backend of a known flow to its client.
#[inline(always)]
fn to_client<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: Headers,
    found: Found,
    exit: &mut Exit,
) -> Result<Way, Reason> {
    let flow = found.flow;
    rewrite::check_ttl(packet, headers.family)?;
    if headers.flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST) != 0 {
        track::backend(packet, tables, headers, flow)?;
    }
    let now = tables.now();
    flow.set_answered(now);
    next_hop::of_flow(tables, flow, now)?;
    rewrite::nat(packet, flow.protocol(), headers.family, Turn::to_client(flow))?;
    let hop = flow.way_back();
    rewrite::link(packet, hop)?;
    found.check()?;
    Ok(exit.through(hop))
}
