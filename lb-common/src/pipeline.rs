//! The packet's way: flow? → service? → pick → rewrite.

use network_types::eth::EthHdr;

use crate::{
    abi::{FlowKey, SERVICE_TAG, mode},
    classify::{
        admit, backend_gone, extension_headers, flood_guard, fragment, icmp, neighbours,
        unknown_segment,
    },
    context::{
        map_values::FlowRef,
        parsed::{Desk, Extent, NOBODY, wish},
        tables::{Part, Tables},
        verdict::{Exit, Reason, Verdict, Way},
    },
    flow_table::{
        half_open,
        table::{self, Found, Trail},
    },
    forward::{
        encap, mss_clamp,
        nat::{self, Turn},
        next_hop,
        obstacle::{is_too_large, obstacle},
    },
    lifecycle::{open, opening, tcp_state},
    reply::{reset, too_big},
    select::{pick, quic},
    wire::{
        packet::Packet,
        parse::{
            ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Family, Headers, Kind, UDP, parse,
            parse_plain, sequence, tcp_flags,
        },
        vlan::{self, Tag},
    },
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

/// Nearly every packet is a plain segment of an established flow.
#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    tag: Tag,
    exit: &mut Exit,
) -> Result<Way, Reason> {
    let way = match packet.at::<EthHdr>(0).map(|eth| u16::from_be(eth.ether_type)) {
        Some(ETHERTYPE_IPV4) => usual(packet, tables, Family::V4, exit)?,
        Some(ETHERTYPE_IPV6) => usual(packet, tables, Family::V6, exit)?,
        Some(ETHERTYPE_ARP) if neighbours::asked_in_vain(packet, tables) => {
            return Err(Reason::NotAnswered);
        }
        _ => Way::Other,
    };
    if way.is_decided() {
        return Ok(way);
    }
    let slow = |desk: &mut Desk| {
        desk.arrival.tag = tag;
        let way = unusual(packet, tables, desk, way)?;
        // Field by field: the whole would be copied by a call, byte by byte.
        exit.ifindex = desk.onward.exit.ifindex;
        exit.vlan = desk.onward.exit.vlan;
        exit.inner_vlan = desk.onward.exit.inner_vlan;
        exit.reason = desk.onward.exit.reason;
        Ok(way)
    };
    tables.with_desk(slow).unwrap_or(Err(Reason::Inconsistent))
}

/// All else, step by step. Each is a function of its own in the kernel, one after the other: nested,
/// they would need more stack than there is.
#[inline(always)]
fn unusual<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    desk: &mut Desk,
    way: Way,
) -> Result<Way, Reason> {
    examine(packet, tables, desk)?;
    desk.onward.way = way;
    if desk.arrival.kind == Kind::Odd {
        unfold(packet, tables, desk)?;
        let is_segment = desk.arrival.kind == Kind::Segment;
        desk.onward.way = if is_segment { Way::Back } else { Way::Other };
    }
    if desk.onward.way == Way::Back {
        seek(tables, desk);
    }
    if desk.onward.way != Way::Back {
        arrive(packet, tables, desk)?;
    }
    if desk.onward.way == Way::Back {
        mss_clamp::clamp(packet, tables, desk);
        give_back(packet, tables, desk)?;
    }
    if desk.onward.way == Way::Oversize {
        too_big::answer(packet, tables, desk)?;
    }
    let way = desk.onward.way;
    if desk.arrival.piece.extent != Extent::Whole && matches!(way, Way::Steer | Way::Proxy) {
        fragment::settle(packet, tables, desk)?;
    }
    Ok(way)
}

/// A packet that is no backend's.
#[inline(always)]
fn arrive<P: Packet, T: Tables>(packet: &mut P, tables: &T, desk: &mut Desk) -> Result<(), Reason> {
    match desk.arrival.kind {
        Kind::Segment => admit::newcomer(packet, tables, desk)?,
        Kind::Message => {
            desk.onward.wishes = wish::ANY;
            icmp::receive(packet, tables, desk)?;
        }
        Kind::Odd | Kind::Foreign => desk.onward.way = Way::Pass,
    }
    if desk.onward.way == Way::Unknown {
        unknown_segment::settle(tables, desk)?;
    }
    if desk.onward.way == Way::Open && desk.onward.wishes(wish::GUARD) {
        flood_guard::check(packet, tables, desk)?;
    }
    if matches!(desk.onward.way, Way::Follow | Way::Promote) {
        quic::reroute(packet, tables, desk)?;
    }
    if matches!(desk.onward.way, Way::Follow | Way::Promote) {
        backend_gone::settle(tables, desk)?;
    }
    if matches!(desk.onward.way, Way::Follow | Way::Promote) {
        tcp_state::revive(packet, tables, desk)?;
    }
    if desk.onward.way == Way::Open {
        desk.onward.backend = NOBODY;
        if desk.onward.wishes(wish::QUIC) {
            desk.onward.backend = quic::named(packet, tables, desk);
        }
        pick::pick(tables, desk)?;
    }
    if desk.onward.way == Way::Open {
        opening::open(packet, tables, desk)?;
    }
    match desk.onward.way {
        Way::Open | Way::Follow => {}
        Way::Promote => {
            open::promote(tables, desk);
            flood_guard::remember(tables, desk);
        }
        Way::Refuse => return reset::refuse(packet, desk),
        _ => return Ok(()),
    }
    if desk.onward.wishes(wish::MSS) {
        mss_clamp::clamp(packet, tables, desk);
    }
    follow(packet, tables, desk)
}

/// A plain segment of an established flow: a search by client, then one by backend.
#[inline(always)]
fn usual<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    family: Family,
    exit: &mut Exit,
) -> Result<Way, Reason> {
    let (mut key, mut flags) = (FlowKey::unread(), 0);
    if !parse_plain(packet, family, &mut key, &mut flags) {
        return Ok(Way::Other);
    }
    let headers = Headers::plain(family, flags);
    if flags & tcp_flags::SYN != 0 {
        // Only a backend's is an answer, too. One without may be a backend's all the same, where
        // that opens at the same time: it is looked for among answers where it is no client's.
        return Ok(if flags & tcp_flags::ACK == 0 { Way::Other } else { Way::Back });
    }
    let between = table::between(&key, tables.seed());
    let hash = table::hash_between(between, &key, tables.seed());
    if let Some(found) = table::of_client(tables, Part::Established, &key, hash) {
        if obstacle(packet, tables, found.flow, found.flow.watched()).is_some()
            && !goes_on(packet, tables, headers.l4, found.flow)
        {
            return Ok(Way::Other);
        }
        return to_backend(packet, tables, headers, found, exit);
    }
    match table::of_backend(tables, &key, Trail::between(between, &key, hash)) {
        Some(found) if is_too_large(packet, found.flow) => Ok(Way::Back),
        Some(found) => to_client(packet, tables, headers, found, exit),
        None => Ok(Way::Other),
    }
}

/// Reads a packet that is not usual. What cannot be read is dropped if it is for us.
#[inline(never)]
fn examine<P: Packet, T: Tables>(packet: &P, tables: &T, desk: &mut Desk) -> Result<(), Reason> {
    packet.anchor();
    let arrival = &mut desk.arrival;
    let mut headers = Headers::unread();
    arrival.key = FlowKey::unread();
    let parsed = parse(packet, &mut arrival.key, &mut headers);
    arrival.family = headers.family;
    arrival.flags = headers.flags;
    arrival.l4 = headers.family.l4() as u32;
    arrival.piece.extent = Extent::Whole;
    arrival.hash = table::hash(&arrival.key, tables.seed());
    if arrival.flags & tcp_flags::SYN != 0 || arrival.key.protocol == UDP {
        half_open::fetch(tables, arrival.hash, desk.turn);
    }
    arrival.kind = match parsed {
        Err(_) if !tables.owns(&arrival.key.dst) => Kind::Foreign,
        parsed => parsed?,
    };
    Ok(())
}

/// Reads what is behind options and extension headers, or in other fragments.
#[inline(always)]
fn unfold<P: Packet, T: Tables>(packet: &P, tables: &T, desk: &mut Desk) -> Result<(), Reason> {
    let read = extension_headers::walk(packet, tables, &mut desk.arrival)
        .and_then(|()| extension_headers::read(packet, tables, &mut desk.arrival));
    match read {
        Err(_) if !tables.owns(&desk.arrival.key.dst) => {
            desk.arrival.kind = Kind::Foreign;
            Ok(())
        }
        read => read,
    }
}

/// Whether a plain packet is of a QUIC service's flow, and goes where that does all the same: nearly
/// all do, and need nothing more.
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
fn follow<P: Packet, T: Tables>(packet: &mut P, tables: &T, desk: &mut Desk) -> Result<(), Reason> {
    let Desk { arrival, onward, .. } = desk;
    let flow = table::entry(tables, onward.flow).ok_or(Reason::Inconsistent)?;
    match obstacle(packet, tables, flow, 0) {
        Some(Reason::TooBig) => {
            let reach = tables.reach(flow.backend()).ok_or(Reason::Inconsistent)?;
            onward.carried = reach.hop().mtu.saturating_sub(flow.overhead());
            onward.way = Way::Oversize;
            return Ok(());
        }
        Some(reason) => return Err(reason),
        None => {}
    }
    let found = Found::read(flow);
    // The place may have become another's since. An ICMP error has no key of the flow's.
    if flow.protocol() == arrival.key.protocol && !flow.is_from_client(&arrival.key) {
        return Err(Reason::RacedFlow);
    }
    onward.way = to_backend(packet, tables, arrival.headers(), found, &mut onward.exit)?;
    Ok(())
}

/// Finds the flow of a backend's packet. The way stays [`Way::Back`], if there is one.
#[inline(never)]
fn seek<T: Tables>(tables: &T, desk: &mut Desk) {
    let Desk { arrival, onward, .. } = desk;
    let trail = Trail::of(&arrival.key, tables.seed());
    match table::of_backend(tables, &arrival.key, trail) {
        Some(found) => onward.flow = found.flow.number(),
        None => onward.way = Way::Other,
    }
}

/// Sends a packet on as a backend's packet of that flow.
#[inline(never)]
fn give_back<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    desk: &mut Desk,
) -> Result<(), Reason> {
    let Desk { arrival, onward, .. } = desk;
    let flow = table::entry(tables, onward.flow).ok_or(Reason::Inconsistent)?;
    if is_too_large(packet, flow) {
        onward.carried = flow.way_back().mtu;
        onward.way = Way::Oversize;
        return Ok(());
    }
    let (headers, found) = (arrival.headers(), Found::read(flow));
    if headers.flags & tcp_flags::SYN != 0 {
        tcp_state::answered(packet, headers, found)?;
    }
    onward.way = to_client(packet, tables, headers, found, &mut onward.exit)?;
    Ok(())
}

/// Gives the frame the tag that it leaves with.
#[inline(always)]
fn leave<P: Packet>(packet: &mut P, way: Way, exit: Exit, came_with: Tag) -> Verdict {
    let tag = if way == Way::Steer { Tag::of([exit.vlan, exit.inner_vlan]) } else { came_with };
    if !vlan::push(packet, tag) {
        return Verdict::Drop(Reason::NoHeadroom);
    }
    match way {
        Way::Pass => Verdict::Pass,
        Way::Proxy => Verdict::Proxy,
        Way::Steer => Verdict::Steer { ifindex: exit.ifindex, vlan: exit.vlan & !SERVICE_TAG },
        Way::Reply => Verdict::Reply,
        Way::Answer => Verdict::Answer(exit.reason),
        Way::Other
        | Way::Open
        | Way::Refuse
        | Way::Unknown
        | Way::Promote
        | Way::Follow
        | Way::Back
        | Way::Oversize => Verdict::Drop(Reason::Inconsistent),
    }
}

/// A TCP segment's flags that may end its flow.
const ENDS: u32 = tcp_flags::FIN | tcp_flags::RST;

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
        nat::nat(packet, flow.protocol(), headers, Turn::to_backend(flow))?;
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
    exit: &mut Exit,
) -> Result<Way, Reason> {
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
    nat::nat(packet, flow.protocol(), headers, Turn::to_client(flow))?;
    let hop = flow.way_back();
    nat::link(packet, hop)?;
    found.check()?;
    Ok(exit.through(hop))
}
