//! New flows, step by step, and half-open ones that become established.

use crate::{
    abi::{Address, Backend, CachedHop, FlowKey, Hop, Slot, counter, flow_state, mode},
    context::{
        map_values::{FlowRef, WordRef},
        parsed::{Forwarding, ParsedPacket, Scratch},
        tables::{Part, Step, Tables},
        verdict::Reason,
    },
    flow_table::{
        half_open,
        table::{self, Claim, Placement},
    },
    forward::next_hop,
    wire::{checksum::Delta, packet::Packet, parse},
};

/// Ends tried for one that is free, beside the one whose turn it is: enough while a few in a
/// hundred are.
const TRIES: u32 = 31;
/// [`Forwarding::oldest`] of a flow that has no end of ours yet.
pub(crate) const NONE: u32 = u32::MAX;
/// From one try to the next. Where the buckets of neighbouring ports are full, those of other
/// servers lie there as well, and for a while: far off it is another matter. A prime larger than
/// any range, so that each try has a port of its own while there are so many.
const STRIDE: u32 = 1_000_003;

/// First step: a place among the half-open flows, and all that is known of both ends.
#[inline(never)]
pub(crate) fn begin<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    packet.anchor();
    let Scratch { parsed, onward, turn, .. } = scratch;
    let Forwarding { service, backend: id, .. } = *onward;
    let now = tables.now();
    let backend = tables.backend(id).ok_or(Reason::Inconsistent)?;
    let (mode, named) = {
        let service = tables.service(service).ok_or(Reason::Inconsistent)?;
        (service.mode, service.server_id_length != 0)
    };
    next_hop::of_backend(tables, id, next_hop::asked(parsed.key.protocol, mode), now)?;
    let from = came_from(packet)?;
    let flow = half_open::claim(tables, turn, parsed.hash)?.flow;
    introduce(flow, &parsed.key, backend);
    flow.set_sent(sequence(packet, parsed)?);
    flow.set_replied([0; 4]);
    // Known, but to be asked for again at once.
    let hop = Hop::back(from.0, from.1, tables.ingress(), parsed.tag.ids());
    flow.set_hop(CachedHop { hop, at: 1 });
    flow.set_mode(mode);
    flow.set_watched(u32::from(named) | onward.contested);
    flow.set_overhead(0);
    flow.set_backend(id);
    flow.set_service(service);
    flow.set_opened(now);
    flow.set_seen(now);
    flow.set_answered(0);
    onward.flow = flow.number();
    (onward.pool, onward.sources) = (backend.pool, backend.sources);
    Ok(())
}

/// Second step, where answers come through us: a source port towards the backend that no flow has.
/// The index of answers itself rules out that two flows get one.
#[inline(never)]
pub(crate) fn reserve<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let onward = &mut scratch.onward;
    let flow = table::entry(tables, onward.flow).ok_or(Reason::Inconsistent)?;
    if flow.mode() != mode::NAT {
        return Ok(());
    }
    onward.place = tables.next_port(flow.load(), 1);
    onward.oldest = NONE;
    if is_free(tables, flow, onward, 0) {
        onward.oldest = 0;
        return Ok(());
    }
    tables.repeat::<Elsewhere>(TRIES, scratch);
    if scratch.onward.oldest == NONE { Err(Reason::PortsExhausted) } else { Ok(()) }
}

/// Far from the end whose turn it was.
struct Elsewhere;

impl<T: Tables> Step<T> for Elsewhere {
    #[inline(always)]
    fn take(tables: &T, scratch: &mut Scratch, number: u32) -> bool {
        let onward = &mut scratch.onward;
        let Some(flow) = table::entry(tables, onward.flow) else { return false };
        if is_free(tables, flow, onward, (number + 1).wrapping_mul(STRIDE)) {
            onward.oldest = 0;
        }
        onward.oldest == NONE
    }
}

/// Makes the flow's end the one that is so far behind the one whose turn it was, if nobody has
/// that.
#[inline(always)]
fn is_free<T: Tables>(tables: &T, flow: FlowRef, onward: &Forwarding, behind: u32) -> bool {
    let trail = lay(tables, flow, onward, onward.place.wrapping_add(behind));
    let entered = table::enter_answer(tables, trail, flow.number());
    if entered {
        note_deltas(flow);
    }
    entered
}

/// Writes the end of ours down that is at this place among all there are towards the backend: flows
/// that follow each other have different addresses, where there are several.
#[inline(always)]
pub(crate) fn lay<T: Tables>(
    tables: &T,
    flow: FlowRef,
    onward: &Forwarding,
    place: u32,
) -> Placement {
    let mut place = place;
    if onward.sources > 1 {
        // Neither is 0, but a division must not be able to panic.
        let nth = place.checked_rem(onward.sources).unwrap_or(0);
        place = place.checked_div(onward.sources).unwrap_or(0);
        if let Some(source) = tables.source(onward.pool + nth) {
            flow.set_source(Address::v6(source.bytes()));
        }
    }
    flow.set_source_port(tables.source_port(place));
    Placement::of(&flow.answer(), tables.seed())
}

/// What the rewrite does to checksums.
#[inline(always)]
pub(crate) fn note_deltas(flow: FlowRef) {
    let delta =
        Delta::of_addresses([flow.client(), flow.vip()], [flow.source(), flow.backend_address()]);
    flow.set_l3_delta(delta.bits());
    let delta = delta.word(flow.vip_port(), flow.backend_port());
    flow.set_l4_delta(delta.word(flow.client_port(), flow.source_port()).bits());
}

/// Has the flow go to the backend on the scratch in place of the one that it was begun for.
#[inline(never)]
pub(crate) fn redirect<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let Scratch { parsed, onward, .. } = scratch;
    let flow = table::entry(tables, onward.flow).ok_or(Reason::Inconsistent)?;
    let id = onward.backend;
    let backend = tables.backend(id).ok_or(Reason::Inconsistent)?;
    let wanted = next_hop::asked(parsed.key.protocol, flow.mode());
    next_hop::of_backend(tables, id, wanted, tables.now())?;
    face(flow, &parsed.key, backend);
    flow.set_backend(id);
    (onward.pool, onward.sources) = (backend.pool, backend.sources);
    Ok(())
}

/// Gives the entry back of a flow that was begun and cannot be opened.
#[inline(never)]
pub(crate) fn abandon<T: Tables>(tables: &T, scratch: &Scratch) {
    let flow = table::entry(tables, scratch.onward.flow);
    if let Some(Ok(claim)) = flow.map(|flow| Claim::of(tables, flow)) {
        claim.abandon(tables);
    }
}

/// Last step: the flow, which was counted when its backend was picked, is found.
#[inline(never)]
pub(crate) fn finish<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let flow = table::entry(tables, scratch.onward.flow).ok_or(Reason::Inconsistent)?;
    tables.opened(flow.backend());
    Claim::of(tables, flow)?.open(tables, flow_state::COUNTED);
    Ok(())
}

/// Between which stations the client's packet came, as [`Hop::back`] takes them: answers go back
/// there until routing knows better.
#[inline(always)]
fn came_from<P: Packet>(packet: &P) -> Result<([u8; 8], [u8; 4]), Reason> {
    let long = *packet.at::<[u8; 8]>(0).ok_or(Reason::Truncated)?;
    let short = *packet.at::<[u8; 4]>(8).ok_or(Reason::Truncated)?;
    Ok((long, short))
}

/// The sequence number that a TCP flow begins with here; 0 of all else, an ICMP error about TCP
/// among it.
#[inline(always)]
fn sequence<P: Packet>(packet: &P, parsed: &ParsedPacket) -> Result<[u8; 4], Reason> {
    if parsed.flags == 0 { Ok([0; 4]) } else { parse::sequence(packet, parsed.l4) }
}

/// Both ends.
#[inline(always)]
fn introduce(flow: FlowRef, key: &FlowKey, backend: &Backend) {
    flow.set_protocol(key.protocol);
    flow.set_client(key.src);
    flow.set_client_port(key.src_port);
    flow.set_vip(key.dst);
    flow.set_vip_port(key.dst_port);
    face(flow, key, backend);
}

/// The backend's.
#[inline(always)]
fn face(flow: FlowRef, key: &FlowKey, backend: &Backend) {
    flow.set_backend_address(backend.address);
    // Of its bytes: as a whole it would be moved by a call, byte by byte.
    flow.set_source(Address::v6(backend.source.bytes()));
    let port = if backend.port == [0, 0] { key.dst_port } else { backend.port };
    flow.set_backend_port(port);
    flow.set_load(backend.load);
}

/// Moves a half-open flow among the established ones. Where there is no room, it stays, confirmed:
/// its next packet tries again.
#[inline(never)]
pub(crate) fn promote<T: Tables>(tables: &T, scratch: &mut Scratch) {
    let Scratch { parsed, onward, .. } = scratch;
    let Some(pending) = table::entry(tables, onward.flow) else { return };
    let Some(word) = table::slot_of(tables, pending) else { return };
    let contested = pending.protocol() == parse::TCP && pending.watched() != 0;
    if contested
        && let Some(elder) = table::of_client(tables, Part::Established, &parsed.key, parsed.hash)
    {
        table::remove(tables, elder.flow);
    }
    let claim = match table::claim_established(tables, parsed.hash, tables.now()) {
        Ok(claim) => claim,
        Err(Reason::FlowTableFull) => return stay(tables, &parsed.key, pending, word),
        Err(_) => return,
    };
    let flow = claim.flow;
    // Ours from here, and still found, so that no packet of the flow meets neither.
    let slot = Slot(word.load());
    let held = slot.0 | flow_state::CLAIMED as u64;
    let free = slot.has(flow_state::OPEN) && !slot.has(flow_state::CLAIMED);
    if !free || !table::stands_for(slot, pending) || !tables.exchange(word, slot.0, held) {
        return claim.abandon(tables);
    }
    // Only now does nobody else write there; before, it may have become another's.
    if !pending.is_from_client(&parsed.key) {
        tables.exchange(word, held, slot.0);
        return claim.abandon(tables);
    }
    flow.copy_from(pending);
    if contested {
        flow.set_watched(0);
    }
    if flow.mode() == mode::NAT {
        let trail = Placement::of(&flow.answer(), tables.seed());
        let new = trail.answer(flow.number());
        table::turn_answer(tables, trail, pending.number(), new);
    }
    // Not counted yet: two slots with one count would be taken out twice.
    let state = slot.state() & !flow_state::COUNTED | flow_state::CONFIRMED;
    let opened = claim.open(tables, state);
    leave(tables, pending, word, flow, opened);
    onward.flow = flow.number();
}

/// Has a flow treated as an established one where it is: it lives as long, and gives way to newer
/// half-open flows last of all.
#[inline(always)]
fn stay<T: Tables>(tables: &T, key: &FlowKey, pending: FlowRef, word: WordRef) {
    let slot = Slot(word.load());
    let waits =
        slot.has(flow_state::OPEN) && !slot.has(flow_state::CONFIRMED | flow_state::CLAIMED);
    // Read after the slot, which says by its generation that it was this flow's then.
    if waits
        && table::stands_for(slot, pending)
        && pending.is_from_client(key)
        && tables.exchange(word, slot.0, slot.with(flow_state::CONFIRMED).0)
    {
        tables.count(counter::CROWDED);
    }
}

/// Packets change a slot a few times in its flow's life.
const CHANGES: u32 = 4;

/// Gives the old slot and entry up; what happened to the flow there meanwhile happens to it here.
#[inline(always)]
fn leave<T: Tables>(tables: &T, pending: FlowRef, old: WordRef, flow: FlowRef, opened: Slot) {
    // While the slot is still ours: afterwards the entry may be another's.
    pending.set_opened(0);
    for _ in 0..CHANGES {
        let last = Slot(old.load());
        if tables.exchange(old, last.0, last.vacant().0) {
            return inherit(tables, flow, opened, last);
        }
    }
}

/// The new slot takes over that the flow closed, and that it counts: or, if it is over here
/// already, the count is taken out.
#[inline(always)]
fn inherit<T: Tables>(tables: &T, flow: FlowRef, opened: Slot, last: Slot) {
    let Some(word) = table::slot_of(tables, flow) else { return };
    let load = flow.load();
    let bits = last.state() & (flow_state::CLOSED | flow_state::RESET | flow_state::COUNTED);
    for _ in 0..CHANGES {
        let slot = Slot(word.load());
        if !slot.is_still(opened) {
            break;
        }
        let both = slot.with(bits);
        if tables.exchange(word, slot.0, both.0) {
            if both.has(flow_state::COUNTED) {
                return;
            }
            break;
        }
    }
    if last.has(flow_state::COUNTED) {
        tables.count_out(load);
    }
}
