//! The packet's way: flow? → service? → pick → rewrite.

use network_types::eth::EthHdr;

use crate::{
    abi::{Backend, CachedHop, Flow, FlowKey, Hop, direction, flow_state, path},
    checksum::Delta,
    flow::{Headers, Kind, TCP, parse, slot, tcp_flags},
    icmp, next_hop,
    packet::Packet,
    rewrite,
    tables::{Draft, FlowRef, Refused, Tables},
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

#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    tag: Tag,
    exit: &mut Exit,
) -> Result<Way, Reason> {
    let mut headers = Headers::default();
    match parse(packet, &mut headers) {
        Ok(Kind::Segment) => match tables.flow(&headers.key) {
            Some(flow) => follow(packet, tables, &headers, flow, tag, exit),
            None => admit(packet, tables, &headers, tag, exit),
        },
        Ok(Kind::Message) => icmp::receive(packet, tables, &headers, exit),
        Ok(Kind::Foreign) => Ok(Way::Pass),
        Err(reason) if tables.owns(&headers.key.dst) => Err(reason),
        Err(_) => Ok(Way::Pass),
    }
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
    }
}

/// A packet of a known flow: what nearly every packet is.
#[inline(always)]
fn follow<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    flow: FlowRef,
    tag: Tag,
    exit: &mut Exit,
) -> Result<Way, Reason> {
    rewrite::check_ttl(packet, headers.family)?;
    if headers.detail & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST) != 0 {
        if reopens(headers, flow) {
            tables.remove_flow(&flow.partner(TCP));
            tables.remove_flow(&headers.key);
            return admit(packet, tables, headers, tag, exit);
        }
        track(tables, headers, flow);
    }
    let now = tables.now();
    flow.set_seen(now);
    next_hop::of_flow(tables, flow, headers.key.protocol, now)?;
    rewrite::nat(packet, headers, flow)?;
    Ok(exit.through(flow))
}

/// A client that uses its port again before the finished flow was forgotten.
#[inline(always)]
fn reopens(headers: &Headers, flow: FlowRef) -> bool {
    flow.direction() == direction::FORWARD
        && flow.state() & flow_state::CLOSED == flow_state::CLOSED
        && headers.detail & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
}

/// Follows TCP's opening and closing. The forward entry keeps the state of both directions.
#[inline(never)]
fn track<T: Tables>(tables: &T, headers: &Headers, flow: FlowRef) {
    let forward = flow.direction() == direction::FORWARD;
    let keeper = if forward { Some(flow) } else { tables.flow(&flow.partner(TCP)) };
    let Some(keeper) = keeper else { return };
    let mut bits = 0;
    if !forward && headers.detail & tcp_flags::SYN != 0 {
        bits |= flow_state::ANSWERED;
    }
    if headers.detail & tcp_flags::FIN != 0 {
        bits |= if forward { flow_state::CLIENT_FIN } else { flow_state::BACKEND_FIN };
    }
    if headers.detail & tcp_flags::RST != 0 {
        bits |= flow_state::CLOSED;
    }
    let before = tables.mark(keeper, bits);
    let closed = |state| state & flow_state::CLOSED == flow_state::CLOSED;
    if !closed(before) && closed(before | bits) {
        tables.count_out(keeper.load());
    }
}

/// A packet of no known flow: not ours, for the proxy, denied, or the first of a new flow.
#[inline(always)]
fn admit<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    headers: &Headers,
    tag: Tag,
    exit: &mut Exit,
) -> Result<Way, Reason> {
    let Some(vip) = tables.vip(&headers.key.vip()) else {
        let ours = tables.owns(&headers.key.dst);
        return if ours { Err(Reason::UndeclaredPort) } else { Ok(Way::Pass) };
    };
    if vip.path == path::PROXY {
        return Ok(Way::Proxy);
    }
    check_opening(headers)?;
    rewrite::check_ttl(packet, headers.family)?;
    let id = pick(tables, vip.service, &headers.key)?;
    let flow = tables.drafted().ok_or(Reason::Inconsistent)?;
    flow.set_hop(&way_back(packet, tables, tag)?);
    open(tables, &headers.key, id)?;
    rewrite::nat(packet, headers, flow)?;
    Ok(exit.through(flow))
}

/// Only a SYN opens a TCP flow.
#[inline(always)]
fn check_opening(headers: &Headers) -> Result<(), Reason> {
    use tcp_flags::{ACK, FIN, RST, SYN};
    if headers.key.protocol != TCP {
        return Ok(());
    }
    match headers.detail & (SYN | ACK | FIN | RST) {
        SYN => Ok(()),
        0 => Err(Reason::BadTcpFlags),
        flags if flags & SYN != 0 && flags & (FIN | RST) != 0 => Err(Reason::BadTcpFlags),
        _ => Err(Reason::UnknownFlow),
    }
}

/// Where the client's packet came from: answers go there until routing knows better.
#[inline(always)]
fn way_back<P: Packet, T: Tables>(packet: &P, tables: &T, tag: Tag) -> Result<CachedHop, Reason> {
    let eth = packet.at::<EthHdr>(0).ok_or(Reason::Truncated)?;
    let hop = Hop::new(eth.src_addr, eth.dst_addr, tables.ingress(), tag.id());
    // Known, but to be asked for again at once.
    Ok(CachedHop { hop, at: 1 })
}

/// The backend whose share of the ring the flow falls on.
#[inline(always)]
fn pick<T: Tables>(tables: &T, service: u32, key: &FlowKey) -> Result<u32, Reason> {
    let ring = tables.service(service).ok_or(Reason::Inconsistent)?;
    if ring.length() == 0 {
        return Err(Reason::NoBackend);
    }
    let slot = ring.offset() + slot(key.hash(), ring.length());
    tables.ring(slot).ok_or(Reason::Inconsistent)
}

/// Ports tried before giving up: enough while a few in a hundred are free.
const TRIES: u32 = 32;

/// Enters a new flow in both directions and counts it. The draft has the way back to the client;
/// the forward entry stays in it.
///
/// A function of its own in the kernel too: it takes values only, and its stack is its own.
#[inline(never)]
fn open<T: Tables>(tables: &T, key: &FlowKey, id: u32) -> Result<(), Reason> {
    tables
        .with_draft(|draft| {
            start_reverse(tables, draft, key, id)?;
            reserve(tables, draft, key)?;
            turn_forward(tables, draft, key)
        })
        .unwrap_or(Err(Reason::Inconsistent))
}

/// The entry for the backend's packets, as far as it is known before its port.
#[inline(always)]
fn start_reverse<T: Tables>(
    tables: &T,
    draft: &mut Draft,
    key: &FlowKey,
    id: u32,
) -> Result<(), Reason> {
    let Backend { address: src, source: dst, port: src_port, load, .. } =
        tables.backend(id).ok_or(Reason::Inconsistent)?;
    let protocol = key.protocol;
    draft.answer = FlowKey { src, dst, src_port, dst_port: [0; 2], protocol };
    draft.flow = Flow {
        src: key.dst,
        dst: key.src,
        src_port: key.dst_port,
        dst_port: key.src_port,
        l3_delta: Delta::NONE.address(src, key.dst).address(dst, key.src).bits(),
        seen: tables.now(),
        backend: id,
        load,
        direction: direction::REVERSE,
        hop: draft.flow.hop,
        ..Flow::default()
    };
    Ok(())
}

/// Finds a source port towards the backend that no live flow has, by entering the reverse
/// direction under it: the table itself rules out that two flows get one port.
#[inline(always)]
fn reserve<T: Tables>(tables: &T, draft: &mut Draft, key: &FlowKey) -> Result<(), Reason> {
    let delta = Delta::from_bits(draft.flow.l3_delta).word(draft.answer.src_port, key.dst_port);
    for _ in 0..TRIES {
        let port = tables.next_port(draft.flow.load);
        draft.answer.dst_port = port;
        draft.flow.l4_delta = delta.word(port, key.src_port).bits();
        match tables.insert_flow(&draft.answer, &draft.flow) {
            Ok(()) => return Ok(()),
            Err(Refused::Taken) => {}
            Err(Refused::Full) => return Err(Reason::FlowTableFull),
        }
    }
    Err(Reason::PortsExhausted)
}

/// Makes the draft the forward entry, which answers the reverse one's key, and enters it.
#[inline(always)]
fn turn_forward<T: Tables>(tables: &T, draft: &mut Draft, key: &FlowKey) -> Result<(), Reason> {
    let Draft { flow, answer } = draft;
    flow.src = answer.dst;
    flow.dst = answer.src;
    flow.src_port = answer.dst_port;
    flow.dst_port = answer.src_port;
    flow.l3_delta = Delta::from_bits(flow.l3_delta).reversed().bits();
    flow.l4_delta = Delta::from_bits(flow.l4_delta).reversed().bits();
    flow.direction = direction::FORWARD;
    let entered = next_hop::of_backend(tables, draft, key.protocol).and_then(|()| {
        // Taken: another CPU was faster with the same flow. The client sends this packet again.
        tables.insert_flow(key, &draft.flow).map_err(|refused| match refused {
            Refused::Taken => Reason::RacedFlow,
            Refused::Full => Reason::FlowTableFull,
        })
    });
    let Draft { flow, answer } = draft;
    if let Err(reason) = entered {
        tables.remove_flow(answer);
        return Err(reason);
    }
    tables.count_in(flow.load);
    tables.opened(flow.backend);
    Ok(())
}
