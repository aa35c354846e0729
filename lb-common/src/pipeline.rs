//! The packet's way: flow? → service? → pick → rewrite.

use network_types::eth::EthHdr;

use crate::{
    abi::{Backend, CachedHop, Flow, FlowKey, Hop, direction, flow_state, path},
    checksum::Delta,
    flow::{Parsed, Segment, TCP, parse, slot, tcp_flags},
    icmp, next_hop,
    packet::Packet,
    rewrite,
    tables::{Draft, FlowRef, Refused, Tables},
    verdict::{Reason, Verdict},
    vlan::{self, Popped, Tag},
};

/// Decides about a frame and rewrites it accordingly. A frame that passes is byte for byte what
/// it was; the bytes of a dropped one are undefined.
#[inline(always)]
pub fn balance<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let tag = match vlan::pop(packet) {
        Popped::Untagged => None,
        Popped::Tagged(tag) => Some(tag),
        Popped::Nested(dst) => {
            let ours = dst.is_some_and(|dst| tables.owns(&dst));
            return if ours {
                Verdict::Drop(Reason::NestedVlan)
            } else {
                Verdict::Pass
            };
        }
    };
    match decide(packet, tables, tag) {
        Ok(verdict) => leave(packet, verdict, tag),
        Err(reason) => Verdict::Drop(reason),
    }
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    tag: Option<Tag>,
) -> Result<Verdict, Reason> {
    match parse(packet) {
        Parsed::Segment(segment) => match tables.flow(&segment.key) {
            Some(flow) => follow(packet, tables, &segment, flow, tag),
            None => admit(packet, tables, &segment, tag),
        },
        Parsed::Message(message) => icmp::receive(packet, tables, &message),
        Parsed::Odd { dst, reason } if tables.owns(&dst) => Err(reason),
        Parsed::Odd { .. } | Parsed::Foreign => Ok(Verdict::Pass),
    }
}

/// Gives the frame the tag that it leaves with.
#[inline(always)]
fn leave<P: Packet>(packet: &mut P, verdict: Verdict, came_with: Option<Tag>) -> Verdict {
    let tag = match verdict {
        Verdict::Steer { vlan: 0, .. } => None,
        Verdict::Steer { vlan, .. } => Some(Tag::vlan(vlan)),
        _ => came_with,
    };
    match tag {
        Some(tag) if !vlan::push(packet, tag) => Verdict::Drop(Reason::NoHeadroom),
        _ => verdict,
    }
}

/// A packet of a known flow: what nearly every packet is.
#[inline(always)]
fn follow<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    segment: &Segment,
    flow: FlowRef,
    tag: Option<Tag>,
) -> Result<Verdict, Reason> {
    rewrite::check_ttl(packet, segment.family)?;
    if segment.flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST) != 0 {
        if reopens(segment, flow) {
            tables.remove_flow(&flow.partner(TCP));
            tables.remove_flow(&segment.key);
            return admit(packet, tables, segment, tag);
        }
        track(tables, segment, flow);
    }
    let now = tables.now();
    flow.set_seen(now);
    let hop = next_hop::of_flow(tables, flow, &segment.key, now)?;
    rewrite::nat(packet, segment, flow, &hop)?;
    Ok(Verdict::steer(&hop))
}

/// A client that uses its port again before the finished flow was forgotten.
#[inline(always)]
fn reopens(segment: &Segment, flow: FlowRef) -> bool {
    flow.direction() == direction::FORWARD
        && flow.state() & flow_state::CLOSED == flow_state::CLOSED
        && segment.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
}

/// Follows TCP's opening and closing. The forward entry keeps the state of both directions.
#[inline(always)]
fn track<T: Tables>(tables: &T, segment: &Segment, flow: FlowRef) {
    let forward = flow.direction() == direction::FORWARD;
    let keeper = if forward {
        Some(flow)
    } else {
        tables.flow(&flow.partner(TCP))
    };
    let Some(keeper) = keeper else { return };
    let mut bits = 0;
    if !forward && segment.flags & tcp_flags::SYN != 0 {
        bits |= flow_state::ANSWERED;
    }
    if segment.flags & tcp_flags::FIN != 0 {
        bits |= if forward {
            flow_state::CLIENT_FIN
        } else {
            flow_state::BACKEND_FIN
        };
    }
    if segment.flags & tcp_flags::RST != 0 {
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
    segment: &Segment,
    tag: Option<Tag>,
) -> Result<Verdict, Reason> {
    let Some(vip) = tables.vip(&segment.key.vip()) else {
        let ours = tables.owns(&segment.key.dst);
        return if ours {
            Err(Reason::UndeclaredPort)
        } else {
            Ok(Verdict::Pass)
        };
    };
    if vip.path == path::PROXY {
        return Ok(Verdict::Proxy);
    }
    check_opening(segment)?;
    rewrite::check_ttl(packet, segment.family)?;
    let id = pick(tables, vip.service, &segment.key)?;
    let back = way_back(packet, tables, tag)?;
    open(tables, &segment.key, id, &back)?;
    tables
        .with_draft(|draft| {
            let hop = draft.flow.hop.hop;
            rewrite::nat(packet, segment, FlowRef::of_draft(draft), &hop)?;
            Ok(Verdict::steer(&hop))
        })
        .unwrap_or(Err(Reason::Inconsistent))
}

/// Only a SYN opens a TCP flow.
#[inline(always)]
fn check_opening(segment: &Segment) -> Result<(), Reason> {
    use tcp_flags::{ACK, FIN, RST, SYN};
    if segment.key.protocol != TCP {
        return Ok(());
    }
    match segment.flags & (SYN | ACK | FIN | RST) {
        SYN => Ok(()),
        0 => Err(Reason::BadTcpFlags),
        flags if flags & SYN != 0 && flags & (FIN | RST) != 0 => Err(Reason::BadTcpFlags),
        _ => Err(Reason::UnknownFlow),
    }
}

/// Where the client's packet came from: answers go there until routing knows better.
#[inline(always)]
fn way_back<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    tag: Option<Tag>,
) -> Result<CachedHop, Reason> {
    let eth = packet.at::<EthHdr>(0).ok_or(Reason::Truncated)?;
    let hop = Hop {
        dst_mac: eth.src_addr,
        src_mac: eth.dst_addr,
        vlan: tag.map_or(0, Tag::id),
        ifindex: tables.ingress(),
        ..Hop::default()
    };
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

/// Enters a new flow in both directions and counts it. Its forward entry stays in the draft.
///
/// A function of its own in the kernel too: it takes values only, and its stack is its own.
#[inline(never)]
fn open<T: Tables>(tables: &T, key: &FlowKey, id: u32, back: &CachedHop) -> Result<(), Reason> {
    let backend = tables.backend(id).ok_or(Reason::Inconsistent)?;
    tables
        .with_draft(|draft| {
            start_reverse(tables, draft, key, id, &backend);
            draft.flow.hop = *back;
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
    backend: &Backend,
) {
    let (src_port, protocol) = (backend.port, key.protocol);
    let (src, dst) = (backend.address, backend.source);
    draft.answer = FlowKey {
        src,
        dst,
        src_port,
        dst_port: [0; 2],
        protocol,
        pad: [0; 3],
    };
    let l3 = Delta::NONE
        .address(&src.0, &key.dst.0)
        .address(&dst.0, &key.src.0);
    draft.flow = Flow {
        src: key.dst,
        dst: key.src,
        src_port: key.dst_port,
        dst_port: key.src_port,
        l3_delta: l3.bits(),
        seen: tables.now(),
        backend: id,
        load: backend.load,
        direction: direction::REVERSE,
        ..Flow::default()
    };
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
    let query = next_hop::query(key, flow.src, flow.dst);
    let entered = next_hop::of_backend(tables, flow.backend, &query, flow.seen).and_then(|hop| {
        flow.hop = hop;
        // Taken: another CPU was faster with the same flow. The client sends this packet again.
        tables
            .insert_flow(key, flow)
            .map_err(|refused| match refused {
                Refused::Taken => Reason::RacedFlow,
                Refused::Full => Reason::FlowTableFull,
            })
    });
    if let Err(reason) = entered {
        tables.remove_flow(answer);
        return Err(reason);
    }
    tables.count_in(flow.load);
    tables.opened(flow.backend);
    Ok(())
}
