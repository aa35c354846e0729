//! The kernel program's flow table, mapped into this process's memory.
//!
//! For the meaning of the words see [`lb_common::abi::Slot`], [`Answer`], [`Flow`]. The rules are
//! the kernel program's: whoever exchanges a slot owns it, and the read of an entry is valid if its
//! sequence was even and did not change.

use std::{
    array,
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use aya::Ebpf;
use lb_common::{
    abi::{Answer, Bucket, Flow, PENDING, Slot, WAYS, flow_state, maps, mode},
    flows::{Placement, bucket, hash},
    tables::Part,
};

use super::referenced_ids::ReferencedIds;
use crate::datapath::bpf::{
    error::DatapathError,
    mapped_array::{Mapped, copy, half},
    programs::take_map,
};

/// Words per bucket.
const BUCKET: usize = WAYS as usize;

/// All flows of the kernel program. Reading and changing them costs no system call.
pub struct FlowTable {
    established: FlowEntries,
    pending: FlowEntries,
    pub(crate) answers: Mapped<Bucket>,
    seed: [u64; 2],
}

/// The entries of one part of the table, and their slots. A flow is identified by its slot's
/// number.
pub(crate) struct FlowEntries {
    pub(crate) slots: Mapped<Bucket>,
    flows: Mapped<Flow>,
    part: Part,
}

/// Returns the first byte of a half word that several fields share.
fn first(half: u32) -> u8 {
    half.to_ne_bytes()[0]
}

/// The fields of a flow that a sweep reads: few, because it reads millions of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowSummary {
    pub(crate) protocol: u32,
    pub(crate) load: u32,
    pub(crate) service: u32,
    /// [`lb_common::abi::mode`].
    pub(crate) mode: u8,
    pub(crate) opened: u64,
    /// The backend has sent a packet.
    pub(crate) answered: bool,
    /// The time of the last packet, of either direction.
    pub(crate) last: u64,
}

impl FlowEntries {
    fn open(ebpf: &mut Ebpf, part: Part) -> Result<Self, DatapathError> {
        let (slots, flows) = match part {
            Part::Established => (maps::FLOW_SLOTS, maps::FLOWS),
            Part::Pending => (maps::PENDING_SLOTS, maps::PENDING),
        };
        let table = Self {
            slots: Mapped::map(take_map(ebpf, slots)?, slots)?,
            flows: Mapped::map(take_map(ebpf, flows)?, flows)?,
            part,
        };
        check_buckets(&table.slots, slots)?;
        if table.flows.entries() != table.slots.len() {
            return Err(DatapathError::MapKind { name: flows });
        }
        Ok(table)
    }

    /// Returns the words of the entry of a slot.
    fn entry(&self, number: usize) -> Option<&[AtomicU64]> {
        let place = match self.part {
            Part::Established => number,
            Part::Pending => Slot(self.slots.get(number)?.load(Ordering::Acquire)).place() as usize,
        };
        self.flows.entry(place)
    }

    /// Returns the whole entry; `None` while it is being written.
    pub(crate) fn flow(&self, number: usize) -> Option<Flow> {
        read(self.entry(number)?, copy)
    }

    /// Returns the entry with this number of its own.
    fn at(&self, place: usize) -> Option<Flow> {
        read(self.flows.entry(place)?, copy)
    }

    /// Notes the ids in the entry, even while it is being written: one id too many does no harm.
    pub(crate) fn note_ids(&self, number: usize, named: &mut ReferencedIds) {
        let Some(entry) = self.entry(number) else { return };
        let field = |offset| half(entry, offset).load(Ordering::Relaxed);
        named.add(field(offset_of!(Flow, service)), field(offset_of!(Flow, backend)));
    }

    pub(crate) fn glimpse(&self, number: usize) -> Option<FlowSummary> {
        let field = |entry: &[AtomicU64], offset| half(entry, offset).load(Ordering::Relaxed);
        let time = |entry: &[AtomicU64], offset: usize| entry[offset / 8].load(Ordering::Relaxed);
        read(self.entry(number)?, |entry| {
            let answered = time(entry, offset_of!(Flow, answered));
            FlowSummary {
                protocol: field(entry, offset_of!(Flow, protocol)),
                load: field(entry, offset_of!(Flow, load)),
                service: field(entry, offset_of!(Flow, service)),
                mode: first(field(entry, offset_of!(Flow, mode))),
                opened: time(entry, offset_of!(Flow, opened)),
                answered: answered != 0,
                last: time(entry, offset_of!(Flow, seen)).max(answered),
            }
        })
    }

    /// Returns the words of the bucket of a hash, and the number of its first entry.
    fn bucket(&self, hash: u64) -> (&[AtomicU64], usize) {
        bucket_of(&self.slots, hash)
    }

    /// Frees an entry. Its slot must still be held, because afterwards the entry may be another
    /// flow's.
    pub(crate) fn release(&self, number: usize) {
        if let Some(entry) = self.entry(number) {
            entry[offset_of!(Flow, opened) / 8].store(0, Ordering::Release);
        }
    }

    /// Returns whether an entry is free and stays so while no packets are under way.
    fn is_free(&self, place: usize) -> bool {
        self.flows
            .entry(place)
            .is_some_and(|entry| entry[offset_of!(Flow, opened) / 8].load(Ordering::Acquire) == 0)
    }

    fn write(&self, place: usize, flow: &Flow) {
        let Some(entry) = self.flows.entry(place) else { return };
        let sequence = half(entry, offset_of!(Flow, sequence));
        let odd = sequence.load(Ordering::Relaxed) | 1;
        sequence.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        // SAFETY: Flow is Pod and made of whole words.
        let words: [u64; size_of::<Flow>() / 8] = unsafe { std::mem::transmute(*flow) };
        // The first word holds the sequence and, in its other half, the protocol.
        half(entry, offset_of!(Flow, protocol)).store(flow.protocol, Ordering::Relaxed);
        for (place, word) in entry.iter().zip(words).skip(1) {
            place.store(word, Ordering::Relaxed);
        }
        sequence.store(odd.wrapping_add(1), Ordering::Release);
    }
}

impl FlowTable {
    /// Opens the table of a loaded object whose `SEED` is `seed`.
    ///
    /// # Errors
    ///
    /// A map is missing, of another kind, or cannot be mapped.
    pub fn open(ebpf: &mut Ebpf, seed: [u64; 2]) -> Result<Self, DatapathError> {
        let answers = Mapped::map(take_map(ebpf, maps::ANSWERS)?, maps::ANSWERS)?;
        check_buckets(&answers, maps::ANSWERS)?;
        Ok(Self {
            established: FlowEntries::open(ebpf, Part::Established)?,
            pending: FlowEntries::open(ebpf, Part::Pending)?,
            answers,
            seed,
        })
    }

    /// Returns the number of entries of a part.
    #[must_use]
    pub fn room(&self, part: Part) -> usize {
        self.part(part).slots.len()
    }

    /// Returns copies of all open flows, the half-open ones last. A flow that is being replaced is
    /// left out; a flow that moves between the parts may appear in both or in neither.
    pub fn iter(&self) -> impl Iterator<Item = (Part, Slot, Flow)> + '_ {
        [Part::Established, Part::Pending].into_iter().flat_map(move |part| {
            let entries = self.part(part);
            let slots = entries.slots.iter().enumerate();
            slots.filter_map(move |(number, word)| {
                let slot = Slot(word.load(Ordering::Acquire));
                let flow = slot.has(flow_state::OPEN).then(|| entries.flow(number))?;
                Some((part, slot, flow?))
            })
        })
    }

    /// Returns the number of words of ANSWERS in use.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.answers.iter().filter(|word| word.load(Ordering::Relaxed) != 0).count()
    }

    /// Returns the capacity of ANSWERS.
    #[must_use]
    pub fn room_for_answers(&self) -> usize {
        self.answers.len()
    }

    /// Removes every flow, while no packets are under way. The counts in LOAD stay.
    pub fn clear(&self) {
        let slots = self.established.slots.iter().chain(self.pending.slots.iter());
        // Before the slots, which say whose the entries are.
        (0..self.pending.slots.len()).for_each(|number| self.pending.release(number));
        for word in slots.chain(self.answers.iter()) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Inserts a flow as the kernel program would, with [`flow_state`] bits, created at `now`,
    /// without counting it in LOAD. `None` if its place has no room, or a flow with its fingerprint
    /// is there. Only while no packets are under way: a half-open flow gets the entry with its
    /// slot's number if that is free, although another flow could be due to get it.
    pub fn enter(&self, part: Part, state: u32, flow: &Flow, now: u64) -> Option<u32> {
        let entries = self.part(part);
        let key = hash(&flow.question(), self.seed);
        let (slots, first) = entries.bucket(key);
        let way =
            free_way(slots, |slot| Slot(slot).is_free(), |slot| Slot(slot).misses_all(key) == 0)?;
        let word = &slots[way];
        let free = word.load(Ordering::Relaxed);
        let slot = first + way;
        let mark = match part {
            Part::Established => Slot::birth(now),
            Part::Pending => entries.is_free(slot).then_some(slot as u64)?,
        };
        let claimed = Slot(free).claimed(key, mark);
        word.compare_exchange(free, claimed.0, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        let number = name(part, slot);
        if flow.mode() == mode::NAT && !self.enter_answer(flow, number) {
            word.store(claimed.vacant().0, Ordering::Release);
            return None;
        }
        entries.write(slot, &Flow { number, slot: slot as u32, ..*flow });
        word.store(claimed.open(state).0, Ordering::Release);
        Some(number)
    }

    /// Indexes the backend's answers to `flow` under the entry with `number`. Returns whether there
    /// was room. [`enter`](Self::enter) calls it where it is wanted.
    pub fn enter_answer(&self, flow: &Flow, number: u32) -> bool {
        let trail = Placement::of(&flow.answer(), self.seed);
        let (words, _) = self.answers_at(trail);
        let new = trail.answer(number);
        free_way(words, |word| word == 0, |word| trail.differs(word) == 0)
            .is_some_and(|way| exchange(&words[way], 0, new.0))
    }

    /// Removes the word of ANSWERS that points to the flow with `number`.
    pub(crate) fn forget_answer(&self, flow: &Flow) {
        if flow.mode() != mode::NAT {
            return;
        }
        let trail = Placement::of(&flow.answer(), self.seed);
        let old = trail.answer(flow.number);
        let (words, _) = self.answers_at(trail);
        if let Some(word) = words.iter().find(|word| word.load(Ordering::Relaxed) == old.0) {
            exchange(word, old.0, Answer::FREE.0);
        }
    }

    /// Returns whether the word at `index` of ANSWERS points to an open flow whose answers hash
    /// there.
    pub(crate) fn has_flow(&self, index: usize, word: u64) -> bool {
        let named = Answer(word).number();
        let part = if named & PENDING == 0 { Part::Established } else { Part::Pending };
        let (entries, place) = (self.part(part), (named & !PENDING) as usize);
        // The flow is being written: unknown.
        let Some(flow) = entries.at(place) else { return true };
        let slot = entries.slots.get(flow.slot as usize);
        let slot = Slot(slot.map_or(0, |slot| slot.load(Ordering::Acquire)));
        let stands = part == Part::Established || slot.place() as usize == place;
        if !slot.has(flow_state::OPEN) || !stands {
            return false;
        }
        let trail = Placement::of(&flow.answer(), self.seed);
        let (_, first) = self.answers_at(trail);
        flow.mode() == mode::NAT && index / BUCKET == first / BUCKET && trail.differs(word) == 0
    }

    /// Returns the bucket of ANSWERS for a trail, and the index of its first word.
    fn answers_at(&self, trail: Placement) -> (&[AtomicU64], usize) {
        let first = trail.bucket(self.answers.entries() as u32 - 1) as usize * BUCKET;
        (&self.answers[first..first + BUCKET], first)
    }

    pub(crate) const fn part(&self, part: Part) -> &FlowEntries {
        match part {
            Part::Established => &self.established,
            Part::Pending => &self.pending,
        }
    }
}

/// Reads an entry as a seqlock is read (include/linux/seqlock.h).
fn read<R>(entry: &[AtomicU64], read: impl Fn(&[AtomicU64]) -> R) -> Option<R> {
    const TRIES: u32 = 4;
    let sequence = half(entry, offset_of!(Flow, sequence));
    for _ in 0..TRIES {
        let before = sequence.load(Ordering::Acquire);
        let value = read(entry);
        fence(Ordering::Acquire);
        if before & 1 == 0 && sequence.load(Ordering::Relaxed) == before {
            return Some(value);
        }
    }
    None
}

/// Returns an entry's [`Flow::number`].
pub(crate) const fn name(part: Part, number: usize) -> u32 {
    match part {
        Part::Established => number as u32,
        Part::Pending => number as u32 | PENDING,
    }
}

/// Replaces a word that is exactly `old`; the one who succeeds owns the change.
pub(crate) fn exchange(word: &AtomicU64, old: u64, new: u64) -> bool {
    word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

fn bucket_of(words: &Mapped<Bucket>, hash: u64) -> (&[AtomicU64], usize) {
    let mask = words.entries() as u32 - 1;
    let first = bucket(hash, mask) as usize * BUCKET;
    (&words[first..first + BUCKET], first)
}

/// Returns a free way; `None` if there is none, or if the key's fingerprint is there already.
fn free_way(
    words: &[AtomicU64],
    is_free: impl Fn(u64) -> bool,
    is_same: impl Fn(u64) -> bool,
) -> Option<usize> {
    let words: [u64; BUCKET] = array::from_fn(|way| words[way].load(Ordering::Relaxed));
    if words.iter().any(|&word| is_same(word)) {
        return None;
    }
    words.iter().position(|&word| is_free(word))
}

fn check_buckets(buckets: &Mapped<Bucket>, name: &'static str) -> Result<(), DatapathError> {
    if buckets.entries().is_power_of_two() { Ok(()) } else { Err(DatapathError::MapKind { name }) }
}
