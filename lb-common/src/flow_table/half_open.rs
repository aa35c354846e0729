//! Room for half-open flows.
//!
//! Any entry would do, since the slot says which it is. So they are taken in turn: a new flow is
//! written where the last one's entry ended, in memory that the CPU has already fetched. Flows that
//! wait for their client are passed over while others nearby are free; in a flood, where none is,
//! the oldest give way first. CPUs take [`STRETCH`] entries at a time.

use super::table::{self, Claim, bucket, evict, slot_of, stands, stands_for, way_where};
use crate::{
    abi::{Slot, WAYS, flow_state},
    context::{
        map_values::{BucketRef, FlowRef},
        tables::{Part, Tables},
        verdict::Reason,
    },
};

/// Entries that a CPU takes its turns in before it asks for others: a power of two.
pub const STRETCH: u32 = 64;
/// Entries among which a free one is looked for; and if there is none, those tried before giving
/// up: they may just be written, or be of established flows that found no room among their like.
const TRIES: u64 = 8;
/// In an entry's first word, the lowest bit of its sequence.
const ODD: u64 = if cfg!(target_endian = "little") { 1 } else { 1 << 32 };

/// Makes room for a half-open flow: the entry whose turn it is, and a free slot or that of the
/// oldest flow of its bucket. Those that are established, and found no room among their like, give
/// way last.
#[inline(always)]
pub(crate) fn claim<T: Tables>(tables: &T, turn: &mut u32, hash: u64) -> Result<Claim, Reason> {
    let place = take(tables, turn).ok_or(Reason::RacedFlow)?;
    let index = bucket(hash, tables.slot_mask(Part::Pending));
    let bucket = tables.slots(Part::Pending, index).ok_or(Reason::Inconsistent)?;
    let mut way = likely(hash);
    let tenancy = Slot(bucket.word(way).load()).tenancy();
    if tenancy != 0 || stands(bucket, |word| Slot(word).differs(hash)) {
        way = another(bucket, hash, place, mask(tables));
    }
    let claimed = table::claim(tables, Part::Pending, bucket, way, hash, place as u64);
    if claimed.is_err() {
        release(tables, place);
    }
    claimed
}

/// Which way it is where the likely one is not free, or the hash's fingerprint stands there.
#[inline(never)]
fn another(bucket: BucketRef, hash: u64, place: u32, mask: u32) -> u32 {
    // Before any other: a fingerprint stands once.
    let mut way = way_where(bucket, |word| Slot(word).differs(hash));
    if way >= WAYS {
        way = way_where(bucket, |word| Slot(word).tenancy());
    }
    if way >= WAYS {
        way = oldest(bucket, place, mask);
    }
    way
}

/// The way that a half-open flow takes where it can: known before the bucket is, and mostly free.
#[inline(always)]
const fn likely(hash: u64) -> u32 {
    (hash >> 40) as u32 & (WAYS - 1)
}

/// Has everything fetched at once that a new flow of a client will need. The buckets lie anywhere
/// and most likely in no cache: one after the other they cost more than all the rest.
#[inline(always)]
pub(crate) fn fetch<T: Tables>(tables: &T, hash: u64, turn: u32) {
    if let Some(flow) = tables.flow(Part::Pending, turn & mask(tables)) {
        flow.touch();
    }
    for part in [Part::Established, Part::Pending] {
        if let Some(bucket) = tables.slots(part, bucket(hash, tables.slot_mask(part))) {
            let _ = bucket.word(0).load();
        }
    }
}

/// By how long ago it was their entries' turn.
#[inline(always)]
fn oldest(bucket: BucketRef, place: u32, mask: u32) -> u32 {
    let (mut way, mut best) = (0, 0);
    for candidate in 0..WAYS {
        let slot = Slot(bucket.word(candidate).load());
        let half_open = (slot.state() & flow_state::CONFIRMED ^ flow_state::CONFIRMED) as u64;
        let rank = half_open << 32 | (place.wrapping_sub(slot.place()) & mask) as u64;
        if rank > best {
            (way, best) = (candidate, rank);
        }
    }
    way
}

/// Entries for half-open flows, less one.
#[inline(always)]
fn mask<T: Tables>(tables: &T) -> u32 {
    tables.slot_mask(Part::Pending) * WAYS + WAYS - 1
}

/// The next entry that is nobody's, or else the next one, from which whoever had it is gone.
/// `turn`: this CPU's own, kept between packets.
#[inline(never)]
fn take<T: Tables>(tables: &T, turn: &mut u32) -> Option<u32> {
    if turn.is_multiple_of(STRETCH) {
        *turn = tables.next_stretch();
    }
    let first = *turn;
    for step in 0..TRIES {
        let next = first.wrapping_add(step as u32);
        if step > 0 && next.is_multiple_of(STRETCH) {
            break;
        }
        let place = next & mask(tables);
        let flow = tables.flow(Part::Pending, place)?;
        let head = flow.head().load();
        if flow.opened() == 0 && seize(tables, flow, head) {
            *turn = next.wrapping_add(1);
            return Some(place);
        }
    }
    for left in (0..TRIES).rev() {
        if turn.is_multiple_of(STRETCH) && *turn != first {
            *turn = tables.next_stretch();
        }
        let place = *turn & mask(tables);
        *turn = turn.wrapping_add(1);
        let flow = tables.flow(Part::Pending, place)?;
        let head = flow.head().load();
        if put_out(tables, flow, place, left == 0) && seize(tables, flow, head) {
            return Some(place);
        }
    }
    None
}

/// Makes an entry ours that is still as when it was found free: where there are few, two CPUs may
/// be at one. Its sequence is odd until it is opened or released.
#[inline(always)]
fn seize<T: Tables>(tables: &T, flow: FlowRef, head: u64) -> bool {
    head & ODD == 0 && tables.exchange(flow.head(), head, head | ODD)
}

/// Gives an entry back that was taken for nothing.
#[inline(always)]
fn release<T: Tables>(tables: &T, place: u32) {
    if let Some(flow) = tables.flow(Part::Pending, place) {
        flow.release();
    }
}

/// Takes an entry from its flow. `false`: it is being written, or it is an established flow's,
/// unless `any` may go.
#[inline(never)]
fn put_out<T: Tables>(tables: &T, flow: FlowRef, place: u32, any: bool) -> bool {
    let Some(word) = slot_of(tables, flow) else { return false };
    let slot = Slot(word.load());
    // Perhaps by who takes the slot from the flow, and still needs the entry.
    if slot.has(flow_state::CLAIMED) {
        return false;
    }
    if slot.is_free() || !stands_for(slot, flow) {
        return true;
    }
    let stays = slot.has(flow_state::CONFIRMED) && !any;
    if stays || !tables.exchange(word, slot.0, slot.held().0) {
        return false;
    }
    evict(tables, Part::Pending, place, slot);
    tables.exchange(word, slot.held().0, slot.vacant().0);
    true
}
