//! The packet's way: flow? → service? → pick → rewrite.

use network_types::eth::EthHdr;

use crate::{
    abi::{FlowKey, SERVICE_TAG, mode},
    classify::{
        admit, backend_gone, flood_guard, fragment,
        full_parse::{parse_extension_headers, parse_full},
        icmp, neighbours, unknown_segment,
    },
    context::{
        map_values::FlowRef,
        parsed::{Extent, NOBODY, Scratch, wish},
        tables::{Part, Tables},
        verdict::{Egress, NextStep, Reason, Verdict},
    },
    flow_table::table::{self, Found, Placement},
    forward::{
        encap, mss_clamp,
        nat::{self, NatRewrite},
        next_hop,
        obstacle::{is_too_large, obstacle},
    },
    lifecycle::{open, opening, tcp_state},
    reply::{reset, too_big},
    select::{pick, quic},
    wire::{
        packet::Packet,
        parse::{
            ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family, Headers, Kind, UDP, parse_plain,
            sequence, tcp_flags,
        },
        vlan::{self, Tag},
    },
};

/// Decides about a frame and rewrites it accordingly. A frame that passes is byte for byte what
/// it was; the bytes of a dropped one are undefined.
#[inline(always)]
pub fn balance<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let tag = vlan::pop(packet);
    let mut exit = Egress::default();
    match decide(packet, tables, tag, &mut exit) {
        Ok(way) => leave(packet, way, exit, tag),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Nearly every packet is a plain segment of an established flow.
#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    tag: Tag,
    exit: &mut Egress,
) -> Result<NextStep, Reason> {
    let way = match packet.at::<EthHdr>(0).map(|eth| u16::from_be(eth.ether_type)) {
        Some(ETHERTYPE_IPV4) => fast_path(packet, tables, Family::V4, exit)?,
        Some(ETHERTYPE_IPV6) => fast_path(packet, tables, Family::V6, exit)?,
        Some(ETHERTYPE_ARP) if neighbours::asked_in_vain(packet, tables) => {
            return Err(Reason::NotAnswered);
        }
        _ => NextStep::Other,
    };
    if way.is_decided() {
        return Ok(way);
    }
    let slow = |scratch: &mut Scratch| {
        scratch.parsed.tag = tag;
        let way = unusual(packet, tables, scratch, way)?;
        // Field by field: the whole would be copied by a call, byte by byte.
        exit.ifindex = scratch.onward.exit.ifindex;
        exit.vlan = scratch.onward.exit.vlan;
        exit.inner_vlan = scratch.onward.exit.inner_vlan;
        exit.reason = scratch.onward.exit.reason;
        Ok(way)
    };
    tables.with_desk(slow).unwrap_or(Err(Reason::Inconsistent))
}

/// All else, step by step. Each is a function of its own in the kernel, one after the other:
/// nested, they would need more stack than there is.
#[inline(always)]
fn unusual<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
    way: NextStep,
) -> Result<NextStep, Reason> {
    parse_full(packet, tables, scratch)?;
    scratch.onward.way = way;
    if scratch.parsed.kind == Kind::Odd {
        parse_extension_headers(packet, tables, scratch)?;
        let is_segment = scratch.parsed.kind == Kind::Segment;
        scratch.onward.way = if is_segment { NextStep::Back } else { NextStep::Other };
    }
    if scratch.onward.way == NextStep::Back {
        find_return_flow(tables, scratch);
    }
    if scratch.onward.way != NextStep::Back {
        arrive(packet, tables, scratch)?;
    }
    if scratch.onward.way == NextStep::Back {
        mss_clamp::clamp(packet, tables, scratch);
        forward_to_client(packet, tables, scratch)?;
    }
    if scratch.onward.way == NextStep::Oversize {
        too_big::answer(packet, tables, scratch)?;
    }
    let way = scratch.onward.way;
    if scratch.parsed.piece.extent != Extent::Whole
        && matches!(way, NextStep::Steer | NextStep::Proxy)
    {
        fragment::settle(packet, tables, scratch)?;
    }
    Ok(way)
}

/// A packet that is no backend's.
#[inline(always)]
fn arrive<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    match scratch.parsed.kind {
        Kind::Segment => admit::newcomer(packet, tables, scratch)?,
        Kind::Message => {
            scratch.onward.wishes = wish::ANY;
            icmp::receive(packet, tables, scratch)?;
        }
        Kind::Odd | Kind::Foreign => scratch.onward.way = NextStep::Pass,
    }
    if scratch.onward.way == NextStep::Unknown {
        unknown_segment::settle(tables, scratch)?;
    }
    if scratch.onward.way == NextStep::Open && scratch.onward.wishes(wish::GUARD) {
        flood_guard::check(packet, tables, scratch)?;
    }
    if matches!(scratch.onward.way, NextStep::Follow | NextStep::Promote) {
        quic::reroute(packet, tables, scratch)?;
    }
    if matches!(scratch.onward.way, NextStep::Follow | NextStep::Promote) {
        backend_gone::settle(tables, scratch)?;
    }
    if matches!(scratch.onward.way, NextStep::Follow | NextStep::Promote) {
        tcp_state::revive(packet, tables, scratch)?;
    }
    if scratch.onward.way == NextStep::Open {
        scratch.onward.backend = NOBODY;
        if scratch.onward.wishes(wish::QUIC) {
            scratch.onward.backend = quic::named(packet, tables, scratch);
        }
        pick::pick(tables, scratch)?;
    }
    if scratch.onward.way == NextStep::Open {
        opening::open(packet, tables, scratch)?;
    }
    match scratch.onward.way {
        NextStep::Open | NextStep::Follow => {}
        NextStep::Promote => {
            open::promote(tables, scratch);
            flood_guard::remember(tables, scratch);
        }
        NextStep::Refuse => return reset::refuse(packet, scratch),
        _ => return Ok(()),
    }
    if scratch.onward.wishes(wish::MSS) {
        mss_clamp::clamp(packet, tables, scratch);
    }
    follow(packet, tables, scratch)
}

/// A plain segment of an established flow: a search by client, then one by backend.
#[inline(always)]
fn fast_path<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    family: Family,
    exit: &mut Egress,
) -> Result<NextStep, Reason> {
    let (mut key, mut flags) = (FlowKey::unread(), 0);
    if !parse_plain(packet, family, &mut key, &mut flags) {
        return Ok(NextStep::Other);
    }
    let headers = Headers::plain(family, flags);
    if flags & tcp_flags::SYN != 0 {
        // Only a backend's is an answer, too. One without may be a backend's all the same, where
        // that opens at the same time: it is looked for among answers where it is no client's.
        return Ok(if flags & tcp_flags::ACK == 0 { NextStep::Other } else { NextStep::Back });
    }
    let between = table::between(&key, tables.seed());
    let hash = table::hash_between(between, &key, tables.seed());
    if let Some(found) = table::of_client(tables, Part::Established, &key, hash) {
        if obstacle(packet, tables, found.flow, found.flow.watched()).is_some()
            && !goes_on(packet, tables, headers.l4, found.flow)
        {
            return Ok(NextStep::Other);
        }
        return forward_to_backend(packet, tables, headers, found, exit);
    }
    match table::of_backend(tables, &key, Placement::between(between, &key, hash)) {
        Some(found) if is_too_large(packet, found.flow) => Ok(NextStep::Back),
        Some(found) => to_client(packet, tables, headers, found, exit),
        None => Ok(NextStep::Other),
    }
}

/// Whether a plain packet is of a QUIC service's flow, and goes where that does all the same:
/// nearly all do, and need nothing more.
#[inline(never)]
fn goes_on<P: Packet, T: Tables>(packet: &P, tables: &T, l4: u32, flow: FlowRef) -> bool {
    packet.anchor();
    flow.watched() != 0
        && flow.protocol() == UDP
        && !quic::names_another(packet, tables, l4, flow)
        && obstacle(packet, tables, flow, 0).is_none()
}

/// Sends a packet on as a client's packet of the flow that was found or opened for it.
#[inline(never)]
fn follow<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let Scratch { parsed, onward, .. } = scratch;
    let flow = table::entry(tables, onward.flow).ok_or(Reason::Inconsistent)?;
    match obstacle(packet, tables, flow, 0) {
        Some(Reason::TooBig) => {
            let reach = tables.reach(flow.backend()).ok_or(Reason::Inconsistent)?;
            onward.carried = reach.hop().mtu.saturating_sub(flow.overhead());
            onward.way = NextStep::Oversize;
            return Ok(());
        }
        Some(reason) => return Err(reason),
        None => {}
    }
    let found = Found::read(flow);
    // The place may have become another's since. An ICMP error has no key of the flow's.
    if flow.protocol() == parsed.key.protocol && !flow.is_from_client(&parsed.key) {
        return Err(Reason::RacedFlow);
    }
    onward.way = forward_to_backend(packet, tables, parsed.headers(), found, &mut onward.exit)?;
    Ok(())
}

/// Finds the flow of a backend's packet. The way stays [`NextStep::Back`], if there is one.
#[inline(never)]
fn find_return_flow<T: Tables>(tables: &T, scratch: &mut Scratch) {
    let Scratch { parsed, onward, .. } = scratch;
    let trail = Placement::of(&parsed.key, tables.seed());
    match table::of_backend(tables, &parsed.key, trail) {
        Some(found) => onward.flow = found.flow.number(),
        None => onward.way = NextStep::Other,
    }
}

/// Sends a packet on as a backend's packet of that flow.
#[inline(never)]
fn forward_to_client<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let Scratch { parsed, onward, .. } = scratch;
    let flow = table::entry(tables, onward.flow).ok_or(Reason::Inconsistent)?;
    if is_too_large(packet, flow) {
        onward.carried = flow.way_back().mtu;
        onward.way = NextStep::Oversize;
        return Ok(());
    }
    let (headers, found) = (parsed.headers(), Found::read(flow));
    if headers.flags & tcp_flags::SYN != 0 {
        tcp_state::answered(packet, headers, found)?;
    }
    onward.way = to_client(packet, tables, headers, found, &mut onward.exit)?;
    Ok(())
}

/// Gives the frame the tag that it leaves with.
#[inline(always)]
fn leave<P: Packet>(packet: &mut P, way: NextStep, exit: Egress, came_with: Tag) -> Verdict {
    let tag =
        if way == NextStep::Steer { Tag::of([exit.vlan, exit.inner_vlan]) } else { came_with };
    if !vlan::push(packet, tag) {
        return Verdict::Drop(Reason::NoHeadroom);
    }
    match way {
        NextStep::Pass => Verdict::Pass,
        NextStep::Proxy => Verdict::Proxy,
        NextStep::Steer => Verdict::Steer { ifindex: exit.ifindex, vlan: exit.vlan & !SERVICE_TAG },
        NextStep::Reply => Verdict::Reply,
        NextStep::Answer => Verdict::Answer(exit.reason),
        NextStep::Other
        | NextStep::Open
        | NextStep::Refuse
        | NextStep::Unknown
        | NextStep::Promote
        | NextStep::Follow
        | NextStep::Back
        | NextStep::Oversize => Verdict::Drop(Reason::Inconsistent),
    }
}

/// A TCP segment's flags that may end its flow.
const ENDS: u32 = tcp_flags::FIN | tcp_flags::RST;

/// From the client of a known flow to its backend.
#[inline(always)]
fn forward_to_backend<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: Headers,
    found: Found,
    exit: &mut Egress,
) -> Result<NextStep, Reason> {
    let flow = found.flow;
    nat::check_ttl(packet, headers.family)?;
    if headers.flags & ENDS != 0 {
        tcp_state::client(tables, headers.flags, sequence(packet, headers.l4)?, found);
    } else if headers.flags & tcp_flags::ACK != 0 {
        flow.set_sent(sequence(packet, headers.l4)?);
    }
    let now = tables.now();
    flow.set_seen(now);
    let reach = tables.reach(flow.backend()).ok_or(Reason::Inconsistent)?;
    next_hop::of_reach(tables, reach, flow, now)?;
    let hop = reach.hop();
    if flow.mode() == mode::NAT {
        nat::nat(packet, flow.protocol(), headers, NatRewrite::to_backend(flow))?;
    } else {
        encap::direct(packet, headers.family, flow)?;
    }
    nat::link(packet, hop)?;
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
    exit: &mut Egress,
) -> Result<NextStep, Reason> {
    let flow = found.flow;
    nat::check_ttl(packet, headers.family)?;
    if headers.flags & ENDS != 0 {
        tcp_state::backend(tables, headers.flags, sequence(packet, headers.l4)?, found);
    } else if headers.flags & tcp_flags::ACK != 0 {
        flow.set_replied(sequence(packet, headers.l4)?);
    }
    let now = tables.now();
    flow.set_answered(now);
    next_hop::of_flow(tables, flow, now)?;
    nat::nat(packet, flow.protocol(), headers, NatRewrite::to_client(flow))?;
    let hop = flow.way_back();
    nat::link(packet, hop)?;
    found.check()?;
    Ok(exit.through(hop))
}
