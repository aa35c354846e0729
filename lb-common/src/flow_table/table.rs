//! The flow table: our own, in plain arrays.
//!
//! A BPF hash map costs a lock, an allocation and two copies for a new entry, and a new flow needs
//! two of them; this table needs four compare-and-exchanges. Buckets are cache lines; a search
//! compares fingerprints in one of them and then one entry. Within a bucket a fingerprint stands
//! once, so a search never has to go on. The hash is keyed: nobody outside can fill a bucket on
//! purpose.
//!
//! Writers own a slot from the exchange that claims it to the store that opens it. Readers take no
//! lock: they compare [`Flow::sequence`](crate::abi::Flow::sequence) before and after
//! (a seqlock, as in the kernel's include/linux/seqlock.h).

pub use super::placement::{NEIGHBOURS, Placement, between, hash, hash_between};
use crate::{
    abi::{Answer, FlowKey, PENDING, Slot, WAYS, counter, flow_state},
    context::{
        map_values::{BucketRef, FlowRef, WordRef},
        tables::{Part, Tables},
        verdict::Reason,
    },
};

/// The bits of a hash that choose a bucket; a fingerprint has the others.
#[inline(always)]
#[must_use]
pub const fn bucket(hash: u64, mask: u32) -> u32 {
    (hash ^ hash >> 17) as u32 & mask
}

/// A flow with what [`Flow::sequence`](crate::abi::Flow::sequence) was before it was compared.
#[derive(Clone, Copy)]
pub struct Found {
    pub flow: FlowRef,
    sequence: u32,
}

impl Found {
    #[inline(always)]
    pub fn read(flow: FlowRef) -> Self {
        Self { flow, sequence: flow.sequence() }
    }

    /// Whether all that was read since was of one flow.
    #[inline(always)]
    pub fn check(self) -> Result<(), Reason> {
        if self.sequence & 1 == 0 && self.flow.sequence() == self.sequence {
            Ok(())
        } else {
            Err(Reason::RacedFlow)
        }
    }
}

/// The flow that a client's packet belongs to, unless it is over.
#[inline(always)]
pub fn of_client<T: Tables>(tables: &T, part: Part, key: &FlowKey, hash: u64) -> Option<Found> {
    search(tables, part, key, hash, |slot| slot.misses(hash))
}

/// The same, over or not.
#[inline(always)]
pub fn of_any_client<T: Tables>(tables: &T, part: Part, key: &FlowKey, hash: u64) -> Option<Found> {
    search(tables, part, key, hash, |slot| slot.misses_all(hash))
}

#[inline(always)]
fn search<T: Tables>(
    tables: &T,
    part: Part,
    key: &FlowKey,
    hash: u64,
    misses: impl Fn(Slot) -> u64,
) -> Option<Found> {
    let bucket = tables.slots(part, bucket(hash, tables.slot_mask(part)))?;
    let way = way_where(bucket, |word| misses(Slot(word)));
    if way == WAYS {
        return None;
    }
    let number = match part {
        Part::Established => bucket.number(way),
        Part::Pending => Slot(bucket.word(tables.barrier(way)).load()).place(),
    };
    let found = Found::read(tables.flow(part, number)?);
    if found.flow.is_from_client(key) { Some(found) } else { None }
}

/// The flow that a backend's packet belongs to.
#[inline(always)]
pub fn of_backend<T: Tables>(tables: &T, key: &FlowKey, trail: Placement) -> Option<Found> {
    let bucket = tables.answers(trail.bucket(tables.answer_mask()))?;
    let mut answer = 0;
    for way in 0..WAYS {
        let word = bucket.word(way).load();
        answer |= word & 0_u64.wrapping_sub(is_zero(trail.differs(word)));
    }
    if answer == 0 {
        return None;
    }
    let found = Found::read(entry(tables, Answer(answer).number())?);
    if found.flow.is_from_backend(key) { Some(found) } else { None }
}

/// An entry by [`Flow::number`](crate::abi::Flow::number).
#[inline(always)]
pub fn entry<T: Tables>(tables: &T, number: u32) -> Option<FlowRef> {
    tables.flow(part(number), number & !PENDING)
}

#[inline(always)]
const fn part(number: u32) -> Part {
    if number & PENDING == 0 { Part::Established } else { Part::Pending }
}

/// The slot that stands for a flow.
#[inline(always)]
pub fn slot_of<T: Tables>(tables: &T, flow: FlowRef) -> Option<WordRef> {
    let slot = flow.slot();
    Some(tables.slots(part(flow.number()), slot / WAYS)?.word(slot))
}

/// Whether a slot stands for the flow whose [`slot_of`] it is. That of a half-open one may stand
/// for another by now, which has an entry of its own.
#[inline(always)]
pub fn stands_for(slot: Slot, flow: FlowRef) -> bool {
    let number = flow.number();
    part(number) == Part::Established || slot.place() | PENDING == number
}

/// A slot that was claimed, and the entry that goes with it: its owner's until it is opened.
#[derive(Clone, Copy)]
pub struct Claim {
    pub flow: FlowRef,
    word: WordRef,
    claimed: Slot,
}

/// The first way of a bucket for whose word `differs` is 0; [`WAYS`]: none.
///
/// In arithmetic, without a branch: the kernel's verifier follows each branch of each way, and
/// where searches follow each other it would follow all combinations. `differs` is below 2^63.
#[inline(always)]
pub(crate) fn way_where(bucket: BucketRef, differs: impl Fn(u64) -> u64) -> u32 {
    let mut ways = 1 << WAYS;
    for way in 0..WAYS {
        ways |= (is_zero(differs(bucket.word(way).load())) as u32) << way;
    }
    ways.trailing_zeros()
}

/// Whether there is such a way, which costs less than asking which one.
#[inline(always)]
pub(crate) fn stands(bucket: BucketRef, differs: impl Fn(u64) -> u64) -> bool {
    let mut any = 0;
    for way in 0..WAYS {
        any |= differs(bucket.word(way).load()).wrapping_sub(1);
    }
    any >> 63 != 0
}

/// 1 for 0, 0 for all else below 2^63.
#[inline(always)]
const fn is_zero(value: u64) -> u64 {
    value.wrapping_sub(1) >> 63
}

/// Room for an established flow: a free slot, or that of a flow that is over or silent for long.
/// Full: the flow stays among the half-open ones.
#[inline(always)]
pub fn claim_established<T: Tables>(tables: &T, hash: u64, now: u64) -> Result<Claim, Reason> {
    let index = bucket(hash, tables.slot_mask(Part::Established));
    let bucket = tables.slots(Part::Established, index).ok_or(Reason::Inconsistent)?;
    if way_where(bucket, |word| Slot(word).differs(hash)) < WAYS {
        return Err(Reason::FlowTableFull);
    }
    let mut way = way_where(bucket, |word| Slot(word).tenancy());
    if way >= WAYS {
        way = most_silent(tables, bucket, now);
    }
    if way >= WAYS {
        return Err(Reason::FlowTableFull);
    }
    claim(tables, Part::Established, bucket, way, hash, Slot::birth(now))
}

/// [`WAYS`]: none is silent for long.
#[inline(never)]
fn most_silent<T: Tables>(tables: &T, bucket: BucketRef, now: u64) -> u32 {
    /// ns of silence after which a flow gives way.
    const SILENT: u64 = 30_000_000_000;
    let (mut way, mut best) = (WAYS, SILENT);
    for candidate in 0..WAYS {
        let slot = Slot(bucket.word(candidate).load());
        let silence = silence(tables, bucket.number(candidate), slot, now);
        if silence > best {
            (way, best) = (candidate, silence);
        }
    }
    way
}

#[inline(always)]
fn silence<T: Tables>(tables: &T, number: u32, slot: Slot, now: u64) -> u64 {
    let Some(flow) = tables.flow(Part::Established, number) else { return 0 };
    let silence = now.wrapping_sub(flow.last());
    // Stamped by another CPU since `now`.
    let silence = if silence >> 63 == 0 { silence } else { 0 };
    // What is closed goes before what is open.
    let closed = slot.state() & flow_state::CLOSED == flow_state::CLOSED;
    if closed { silence | 1 << 62 } else { silence }
}

#[inline(always)]
pub(crate) fn claim<T: Tables>(
    tables: &T,
    part: Part,
    bucket: BucketRef,
    way: u32,
    hash: u64,
    mark: u64,
) -> Result<Claim, Reason> {
    let word = bucket.word(tables.barrier(way));
    let before = Slot(word.load());
    // Another CPU is writing there: most likely the same flow.
    if before.has(flow_state::CLAIMED) {
        return Err(Reason::RacedFlow);
    }
    let claimed = before.claimed(hash, mark);
    if !tables.exchange(word, before.0, claimed.0) {
        return Err(Reason::RacedFlow);
    }
    let slot = bucket.number(way);
    let (old, new, number) = match part {
        Part::Pending => (before.place(), claimed.place(), claimed.place() | PENDING),
        Part::Established => (slot, slot, slot),
    };
    if !before.is_free() {
        evict(tables, part, old, before);
    }
    let flow = tables.flow(part, new).ok_or(Reason::Inconsistent)?;
    flow.set_sequence(flow.sequence() | 1);
    flow.set_number(number);
    flow.set_slot(slot);
    Ok(Claim { flow, word, claimed })
}

/// What becomes of the flow whose slot or entry another one gets.
#[inline(always)]
pub(crate) fn evict<T: Tables>(tables: &T, part: Part, number: u32, slot: Slot) {
    let Some(flow) = tables.flow(part, number) else { return };
    forget(tables, flow, slot);
    // One that is over loses nothing.
    if slot.has(flow_state::OVER) {
        return;
    }
    tables.count(match part {
        Part::Pending => counter::EVICTED_PENDING,
        Part::Established => counter::EVICTED,
    });
}

impl Claim {
    /// The claim that its owner had before.
    #[inline(always)]
    pub fn of<T: Tables>(tables: &T, flow: FlowRef) -> Result<Self, Reason> {
        let word = slot_of(tables, flow).ok_or(Reason::Inconsistent)?;
        Ok(Self { flow, word, claimed: Slot(word.load()) })
    }

    /// From now on the flow is found by its clients' packets.
    #[inline(always)]
    pub fn open<T: Tables>(self, tables: &T, state: u32) -> Slot {
        self.flow.set_sequence(self.flow.sequence().wrapping_add(1));
        // An exchange and not a store: it orders what was written before it.
        let opened = self.claimed.open(state);
        tables.exchange(self.word, self.claimed.0, opened.0);
        opened
    }

    /// Gives the slot back.
    #[inline(always)]
    pub fn abandon<T: Tables>(self, tables: &T) {
        self.flow.release();
        tables.exchange(self.word, self.claimed.0, self.claimed.vacant().0);
    }
}

/// Enters where a flow's answers lead. `false`: no room for that.
#[inline(always)]
pub fn enter_answer<T: Tables>(tables: &T, trail: Placement, number: u32) -> bool {
    let Some(bucket) = tables.answers(trail.bucket(tables.answer_mask())) else { return false };
    if stands(bucket, |word| trail.differs(word)) {
        return false;
    }
    // Neighbours, which may be with another CPU now, have another one.
    let mut way = trail.likely_way();
    if bucket.word(way).load() != 0 {
        way = free_answer(bucket);
    }
    if way >= WAYS {
        return false;
    }
    let (word, new) = (bucket.word(tables.barrier(way)), trail.answer(number).0);
    if !tables.exchange(word, 0, new) {
        return false;
    }
    // Two CPUs may enter one key in two ways while others come and go. At least one of them sees
    // both, and what it gives back costs a port number.
    let mut same = 0;
    for way in 0..WAYS {
        same += is_zero(trail.differs(bucket.word(way).load()));
    }
    same == 1 || !tables.exchange(word, new, 0)
}

/// [`WAYS`]: none.
#[inline(never)]
pub(crate) fn free_answer(bucket: BucketRef) -> u32 {
    way_where(bucket, |word| word >> 1)
}

/// Makes an answer lead elsewhere, or nowhere.
#[inline(always)]
pub fn turn_answer<T: Tables>(tables: &T, trail: Placement, number: u32, to: Answer) {
    let Some(bucket) = tables.answers(trail.bucket(tables.answer_mask())) else { return };
    let old = trail.answer(number);
    let way = way_where(bucket, |word| (word ^ old.0) >> 1 | (word ^ old.0) & 1);
    if way < WAYS {
        tables.exchange(bucket.word(tables.barrier(way)), old.0, to.0);
    }
}

/// Takes an open flow out, whoever may still be reading it. `false`: another was faster.
#[inline(always)]
pub fn remove<T: Tables>(tables: &T, flow: FlowRef) -> bool {
    let Some(word) = slot_of(tables, flow) else { return false };
    let slot = Slot(word.load());
    let free = slot.has(flow_state::OPEN) && !slot.has(flow_state::CLAIMED);
    if !free || !stands_for(slot, flow) || !tables.exchange(word, slot.0, slot.held().0) {
        return false;
    }
    // Free only when nothing of the entry is needed any more: it may be another's at once.
    forget(tables, flow, slot);
    tables.exchange(word, slot.held().0, slot.vacant().0);
    true
}

/// What goes with a slot that was taken from its flow: the way of its answers, its count, and last
/// of all the entry.
#[inline(never)]
fn forget<T: Tables>(tables: &T, flow: FlowRef, slot: Slot) {
    if flow.mode() == crate::abi::mode::NAT {
        let trail = Placement::of(&flow.answer(), tables.seed());
        turn_answer(tables, trail, flow.number(), Answer::FREE);
    }
    if slot.has(flow_state::COUNTED) {
        tables.count_out(flow.load());
    }
    flow.set_opened(0);
}
