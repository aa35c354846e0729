//! A packet of no established flow: not ours, for the proxy, denied, of a half-open flow, or the
//! first of a new one.

use crate::{
    abi::{
        FlowKey, PENDING, RangeKey, Service, Vip, VipKey, address_flags, mode, path, service_flags,
    },
    context::{
        map_values::FlowRef,
        parsed::{Extent, Forwarding, ParsedPacket, Scratch, wish},
        tables::{Part, Tables},
        verdict::{NextStep, Reason},
    },
    flow_table::table::{self, Found, Placement},
    forward::nat,
    lifecycle::tcp_state,
    wire::{
        packet::Packet,
        parse::{Headers, TCP, tcp_flags},
    },
};

/// Finds the packet's half-open flow, or decides about a new one.
#[inline(never)]
pub(crate) fn newcomer<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    packet.anchor();
    scratch.onward.wishes = wish::ANY;
    scratch.onward.contested = 0;
    scratch.onward.way = recognise(packet, tables, scratch)?;
    Ok(())
}

#[inline(always)]
fn recognise<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<NextStep, Reason> {
    let Scratch { parsed, onward, .. } = scratch;
    let ParsedPacket { key, hash, .. } = parsed;
    let known = table::of_any_client(tables, Part::Pending, key, *hash)
        .or_else(|| table::of_any_client(tables, Part::Established, key, *hash));
    let Some(found) = known else {
        return admit(packet, tables, parsed, onward);
    };
    if parsed.flags & tcp_flags::SYN != 0 && tcp_state::gives_way(tables, found.flow) {
        return admit(packet, tables, parsed, onward);
    }
    onward.flow = found.flow.number();
    let way = half_open(packet, tables, parsed, found)?;
    if parsed.key.protocol == TCP && found.flow.watched() != 0 && parsed.flags & tcp_flags::SYN == 0
    {
        discern(packet, tables, scratch, way);
        return Ok(scratch.onward.way);
    }
    Ok(way)
}

/// Whose a packet is where two connections have its addresses and ports: the half-open one's if it
/// proves to be, else the established one's. `way` is that of the flow on the scratch.
#[inline(never)]
fn discern<P: Packet, T: Tables>(packet: &P, tables: &T, scratch: &mut Scratch, way: NextStep) {
    packet.anchor();
    let Scratch { parsed, onward, .. } = scratch;
    onward.way = way;
    let Some(flow) = table::entry(tables, onward.flow) else { return };
    if onward.flow & PENDING == 0 {
        // The other one is no more.
        flow.set_watched(0);
        return;
    }
    if tcp_state::is_first(packet, parsed.headers(), flow) {
        return;
    }
    if let Some(elder) = table::of_client(tables, Part::Established, &parsed.key, parsed.hash) {
        onward.flow = elder.flow.number();
        onward.way = NextStep::Follow;
    }
}

/// A client's packet of a half-open flow, or an unusual one of an established flow.
#[inline(always)]
fn half_open<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &ParsedPacket,
    found: Found,
) -> Result<NextStep, Reason> {
    let pending = found.flow.number() & PENDING != 0;
    let confirmed = pending && is_confirmed(packet, tables, parsed.headers(), found.flow);
    found.check()?;
    Ok(if confirmed { NextStep::Promote } else { NextStep::Follow })
}

/// Whether the client has shown that it is where it says. Of a backend that answers it directly
/// we see nothing: there, a second packet must do.
#[inline(always)]
fn is_confirmed<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    headers: Headers,
    flow: FlowRef,
) -> bool {
    /// ns after which a client that still sends is no accident.
    const PATIENT: u64 = 2_000_000_000;
    let direct = flow.mode() != mode::NAT;
    if flow.protocol() == TCP && direct {
        headers.flags & (tcp_flags::ACK | tcp_flags::SYN) == tcp_flags::ACK
    } else if flow.protocol() == TCP {
        tcp_state::completes_handshake(packet, headers, flow)
    } else {
        flow.answered() != 0 || tables.now().wrapping_sub(flow.opened()) > PATIENT
    }
}

#[inline(always)]
fn admit<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &ParsedPacket,
    onward: &mut Forwarding,
) -> Result<NextStep, Reason> {
    let key = &parsed.key;
    let vip = match tables.vip(&key.vip()) {
        Some(vip) => vip,
        None if parsed.flags & tcp_flags::SYN != 0 && answers(tables, parsed, onward) => {
            return Ok(NextStep::Back);
        }
        None => match tables.address(&key.dst) {
            Some(flags) => ranged(tables, key, flags).ok_or(Reason::UndeclaredPort)?,
            None => return Ok(NextStep::Pass),
        },
    };
    if vip.path == path::PROXY {
        return Ok(NextStep::Proxy);
    }
    if parsed.piece.extent == Extent::Later {
        return Err(Reason::FragmentEarly);
    }
    let service = tables.service(vip.service).ok_or(Reason::Inconsistent)?;
    onward.service = vip.service;
    onward.wishes = wishes(service);
    if !opens(parsed, service)? {
        return Ok(NextStep::Unknown);
    }
    nat::check_ttl(packet, parsed.family)?;
    Ok(NextStep::Open)
}

/// Once for all steps to come, each of which would otherwise be called to find it out for itself.
#[inline(always)]
pub(crate) fn wishes(service: &Service) -> u32 {
    let Service { source_interval, service_interval, challenge, .. } = *service;
    let guards = source_interval | service_interval | challenge as u64;
    let lists = service.flags & service_flags::LISTED;
    when(guards | lists as u64, wish::GUARD)
        | when(service.server_id_length as u64, wish::QUIC)
        | when(service.affinity, wish::AFFINITY)
        | when(service.mss as u64, wish::MSS)
        | when((service.mode & mode::IPIP) as u64, wish::TUNNEL)
}

const _: () = {
    assert!(mode::GUE & mode::IPIP == mode::IPIP);
    assert!((mode::NAT | mode::L2) & mode::IPIP == 0);
};

/// `wish` if `value` is not 0: in arithmetic, since the kernel's verifier follows each branch.
#[inline(always)]
const fn when(value: u64, wish: u32) -> u32 {
    wish & (((value | value.wrapping_neg()) >> 63) as u32).wrapping_neg()
}

/// What has a port of ours now.
#[inline(never)]
pub(crate) fn declared<T: Tables>(tables: &T, key: &FlowKey) -> Option<Vip> {
    tables.vip(&key.vip()).or_else(|| ranged(tables, key, tables.address(&key.dst)?))
}

/// Whether the packet is of a backend that opens its side by itself, and of which flow.
#[inline(never)]
fn answers<T: Tables>(tables: &T, parsed: &ParsedPacket, onward: &mut Forwarding) -> bool {
    let trail = Placement::of(&parsed.key, tables.seed());
    let Some(found) = table::of_backend(tables, &parsed.key, trail) else { return false };
    onward.flow = found.flow.number();
    true
}

/// The service that has a port of an announced address by a range, if the address has any.
#[inline(always)]
pub(crate) fn ranged<T: Tables>(tables: &T, key: &FlowKey, flags: u32) -> Option<Vip> {
    if flags & address_flags::RANGES == 0 {
        return None;
    }
    tables.range(&RangeKey::exact(&key.vip()))
}

/// Whether a packet opens a flow. Of TCP only a SYN does. Where backends answer directly, and every
/// node picks the same one, a flow may also come to us from another node in its middle, or with its
/// end.
#[inline(always)]
fn opens(parsed: &ParsedPacket, service: &Service) -> Result<bool, Reason> {
    use tcp_flags::{ACK, FIN, RST, SYN};
    if parsed.key.protocol != TCP {
        return Ok(true);
    }
    match parsed.flags & (SYN | ACK | FIN | RST) {
        SYN => Ok(true),
        0 => Err(Reason::BadTcpFlags),
        flags if flags & SYN != 0 && flags & (FIN | RST) != 0 => Err(Reason::BadTcpFlags),
        flags if service.mode != mode::NAT => Ok(flags & SYN == 0),
        // It may answer a challenge: the guard's matter.
        RST if service.challenge != 0 => Ok(true),
        _ => Ok(false),
    }
}

impl FlowKey {
    /// What this packet addresses.
    #[inline(always)]
    #[must_use]
    pub const fn vip(&self) -> VipKey {
        VipKey::new(self.dst, self.dst_port, self.protocol)
    }
}
