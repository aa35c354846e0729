//! A new flow that found no free source port towards its backend.

use super::open::{self, NONE, lay, note_deltas};
use crate::select::pick;
use crate::{
    abi::{Answer, FlowKey, Slot, WAYS, flow_state},
    context::{
        map_values::FlowRef,
        parsed::{Forwarding, Scratch},
        tables::{Step, Tables},
        verdict::{NextStep, Reason},
    },
    flow_table::table::{
        self, Placement, enter_answer, free_answer, slot_of, stands_for, way_where,
    },
    wire::parse::{TCP, UDP},
};

/// Ends of ours looked at, those first that were given longest ago, for one whose flow is over. Of
/// so few in all, the one that has been over for longest is taken, and of more the first.
const AGED: u32 = 256;
/// How far a new connection's first sequence number must be ahead of the last one's that is known:
/// its FIN, and what it carried, may have come behind that.
const AHEAD: u32 = 1 << 16;
/// In the upper bit of when a flow was over: the backend may refuse another one from its end.
const WAITS: u64 = 1 << 63;
/// Times that another backend is looked for, as far as those that are found have no port left
/// either.
const BACKENDS: u32 = 5;

/// Finds an end of ours for the flow all the same: one whose flow is over, or one towards another
/// backend. [`Reason::PortsExhausted`]: there is none, and the flow's entry is given back.
#[inline(never)]
pub(crate) fn relieve<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    tables.repeat::<Search>(BACKENDS, scratch);
    if scratch.onward.oldest != NONE {
        return Ok(());
    }
    open::abandon(tables, scratch);
    Err(Reason::PortsExhausted)
}

/// Once more towards the backend on the scratch, then towards another one.
struct Search;

impl<T: Tables> Step<T> for Search {
    #[inline(always)]
    fn take(tables: &T, scratch: &mut Scratch, _: u32) -> bool {
        take_over(tables, scratch);
        if scratch.onward.oldest != NONE || !pick::another(tables, scratch) {
            return false;
        }
        if scratch.onward.way != NextStep::Open {
            return true;
        }
        open::redirect(tables, scratch).is_ok() && open::reserve(tables, scratch).is_err()
    }
}

/// A port whose flow is over, and of these one of the oldest, since they are given in turn. What is
/// found stands on the scratch.
#[inline(never)]
fn take_over<T: Tables>(tables: &T, scratch: &mut Scratch) {
    (scratch.onward.oldest, scratch.onward.age) = (NONE, u64::MAX);
    tables.repeat::<Aged>(AGED, scratch);
    succeed(tables, &mut scratch.onward);
}

/// Notes the end so far behind the one whose turn it was, if nobody has it, or its flow has been
/// over for longer than that of any noted before.
struct Aged;

impl<T: Tables> Step<T> for Aged {
    #[inline(always)]
    fn take(tables: &T, scratch: &mut Scratch, number: u32) -> bool {
        consider(tables, &mut scratch.onward, number)
    }
}

/// `false`: what is noted will do.
#[inline(always)]
fn consider<T: Tables>(tables: &T, onward: &mut Forwarding, number: u32) -> bool {
    let ends = ends(tables, onward);
    if number as u64 >= ends || onward.age < WAITS && ends > AGED as u64 {
        return false;
    }
    let Some(flow) = table::entry(tables, onward.flow) else { return false };
    let trail = lay(tables, flow, onward, onward.place.wrapping_add(number));
    let since = answer_spent(tables, &flow.answer(), trail, u32::from_be_bytes(flow.sent()));
    if since < onward.age {
        (onward.oldest, onward.age) = (number, since);
    }
    true
}

/// Takes the end that was noted, if there is one.
#[inline(always)]
fn succeed<T: Tables>(tables: &T, onward: &mut Forwarding) {
    let Some(flow) = table::entry(tables, onward.flow) else { return };
    let behind = onward.oldest;
    if behind != NONE {
        let trail = lay(tables, flow, onward, onward.place.wrapping_add(behind));
        if take_answer(tables, &flow.answer(), trail, flow.number()) {
            note_deltas(flow);
            // Those in between are of flows that go on.
            tables.next_port(flow.load(), behind);
            return;
        }
    }
    onward.oldest = NONE;
    if ends(tables, onward) > AGED as u64 {
        // All these are: the next new flow need not look at them again.
        tables.next_port(flow.load(), AGED);
    }
}

/// How many there are towards the backend.
#[inline(always)]
fn ends<T: Tables>(tables: &T, onward: &Forwarding) -> u64 {
    let several = if onward.sources > 1 { onward.sources } else { 1 };
    tables.port_count() as u64 * several as u64
}

/// Since when, ns, nothing more is expected of the flow that answers with this key lead to: it is
/// closed, or a datagram whose answer has come. 0: they lead nowhere. `u64::MAX`: the flow goes on,
/// or there is no room for another. With [`WAITS`]: not for a connection that begins with `first`.
#[inline(always)]
fn answer_spent<T: Tables>(tables: &T, key: &FlowKey, trail: Placement, first: u32) -> u64 {
    let Some(bucket) = tables.answers(trail.bucket(tables.answer_mask())) else { return u64::MAX };
    let way = way_where(bucket, |word| trail.differs(word));
    if way >= WAYS {
        return if free_answer(bucket) < WAYS { 0 } else { u64::MAX };
    }
    let answer = Answer(bucket.word(tables.barrier(way)).load());
    let Some(tenant) = tables.tenant(answer.number()) else { return u64::MAX };
    let Some(word) = slot_of(tables, tenant) else { return u64::MAX };
    let slot = Slot(word.load());
    if !is_spent(slot, tenant) || !tenant.is_from_backend(key) {
        return u64::MAX;
    }
    tenant.last() | waits(slot, tenant, first)
}

/// [`WAITS`] if the backend may keep its end of a closed flow in TIME-WAIT, and does not take a
/// connection there that begins with this number (RFC 9293, 3.10.7.4), else 0. In arithmetic, since
/// the kernel's verifier follows each branch for all ends that are looked at.
#[inline(always)]
fn waits(slot: Slot, flow: FlowRef, first: u32) -> u64 {
    let ahead = first.wrapping_sub(u32::from_be_bytes(flow.sent()));
    let is_behind = (ahead.wrapping_sub(AHEAD) >> 31) as u64;
    let was_reset = slot.state() & flow_state::RESET != 0;
    (is_behind & (flow.protocol() == TCP) as u64 & !was_reset as u64) << 63
}

/// Makes answers with this key lead to the flow with that number, if [`answer_spent`] allows it.
/// The flow that they led to is taken out. `false`: another was faster.
#[inline(always)]
fn take_answer<T: Tables>(tables: &T, key: &FlowKey, trail: Placement, number: u32) -> bool {
    let Some(bucket) = tables.answers(trail.bucket(tables.answer_mask())) else { return false };
    let way = way_where(bucket, |word| trail.differs(word));
    if way >= WAYS {
        return enter_answer(tables, trail, number);
    }
    let word = bucket.word(tables.barrier(way));
    let old = word.load();
    let Some(tenant) = tables.tenant(Answer(old).number()) else { return false };
    let Some(place) = slot_of(tables, tenant) else { return false };
    let slot = Slot(place.load());
    if !is_spent(slot, tenant) || !tables.exchange(place, slot.0, slot.held().0) {
        return false;
    }
    // Nobody else's from here: only now is it sure to be the one.
    if !tenant.is_from_backend(key) {
        tables.exchange(place, slot.held().0, slot.0);
        return false;
    }
    let taken = tables.hand_over(word, old, trail.answer(number).0);
    if slot.has(flow_state::COUNTED) {
        tables.count_out(tenant.load());
    }
    tables.evict(tenant);
    tables.exchange(place, slot.held().0, slot.vacant().0);
    taken
}

/// Whether a flow that the slot stands for is open, and nothing more is expected of it.
#[inline(always)]
fn is_spent(slot: Slot, flow: FlowRef) -> bool {
    if !slot.has(flow_state::OPEN) || slot.has(flow_state::CLAIMED) || !stands_for(slot, flow) {
        return false;
    }
    let closed = slot.state() & flow_state::CLOSED == flow_state::CLOSED;
    let answered = flow.protocol() == UDP && flow.answered() != 0;
    closed || answered && !slot.has(flow_state::CONFIRMED)
}
