//! The packet path's surroundings as ordinary maps.

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread::{self, ThreadId},
};

pub use super::count::Count;
use super::crowd::Crowd;
use crate::{
    abi::{
        Address, Affinity, AffinityKey, Backend, Bucket, Flow, FlowKey, FragmentKey, Fragmented,
        Hop, QuicKey, RangeKey, Reach, Ring, Service, Slot, Vip, VipKey, WAYS, address_flags,
        counter, flow_state,
    },
    context::{
        map_values::{BucketRef, FlowRef, FragmentedRef, ReachRef, WordRef},
        parsed::{Forwarding, ParsedPacket, Scratch},
        prng::{STEP, scramble},
        tables::{Part, Step, Tables},
        verdict::Reason,
    },
    flow_table::{half_open::STRETCH, table::entry},
    wire::vlan::Tag,
};

/// Tables that a test fills and reads as it likes.
pub struct Model {
    established: Flows,
    pending: Flows,
    answers: Box<[UnsafeCell<Bucket>]>,
    pub vips: HashMap<VipKey, Vip>,
    pub ranges: HashMap<RangeKey, Vip>,
    pub quic_ids: HashMap<QuicKey, u32>,
    /// With what they have beside their ranges.
    pub addresses: HashMap<Address, u32>,
    pub services: Vec<Service>,
    pub current_rings: Vec<Ring>,
    pub rings: Vec<u32>,
    pub backends: Vec<Backend>,
    pub reach: Vec<UnsafeCell<Reach>>,
    /// What routing answers; `None`: no route.
    pub routes: HashMap<Address, Hop>,
    pub fragmented: RefCell<HashMap<FragmentKey, Box<UnsafeCell<Fragmented>>>>,
    fragment_id: Cell<u32>,
    stretches: Count,
    /// Of each thread, which stands for a CPU.
    turn: Mutex<HashMap<ThreadId, u32>>,
    pub load: Vec<Count>,
    pub opened: Vec<Count>,
    /// Of all backends.
    pub exhausted: Count,
    pub source_pool: Vec<Address>,
    pub ports: Vec<Count>,
    pub counters: Vec<Count>,
    pub affinity: Mutex<HashMap<AffinityKey, Affinity>>,
    pub source_ports: (u16, u16),
    pub now: Count,
    pub ingress: u32,
    pub crowd: Crowd,
    /// What the interface takes that frames come in by.
    pub ingress_mtu: u32,
    /// What an earlier packet left on the scratch: in the kernel it lies there for the next one.
    pub left: Cell<Forwarding>,
    answers_due: Cell<u64>,
    resets_due: Cell<u64>,
    turns: Mutex<HashMap<u32, u32>>,
    /// The state of `prng`.
    pub random: Count,
}

// SAFETY: entries and buckets are what threads race for, by the same exchanges as CPUs do in the
// kernel; what is a plain store there is one here, of a word that no thread takes for granted.
unsafe impl Sync for Model {}

/// Entries of one part, and the slots that lead to them.
struct Flows {
    slots: Box<[UnsafeCell<Bucket>]>,
    entries: Box<[UnsafeCell<Flow>]>,
}

impl Flows {
    fn new(buckets: u32) -> Self {
        let entries = (0..buckets * WAYS).map(|_| UnsafeCell::default());
        Self { slots: free_buckets(buckets), entries: entries.collect() }
    }

    fn open(&self, part: Part) -> impl Iterator<Item = (Slot, Flow)> + '_ {
        // SAFETY: asked between packets, and no reference is held.
        let slots = self.slots.iter().flat_map(|bucket| unsafe { *bucket.get() }).map(Slot);
        let open = slots.enumerate().filter(|(_, slot)| slot.has(flow_state::OPEN));
        open.map(move |(number, slot)| {
            let entry = if part == Part::Pending { slot.place() as usize } else { number };
            // SAFETY: as above.
            (slot, unsafe { *self.entries[entry].get() })
        })
    }
}

fn free_buckets(buckets: u32) -> Box<[UnsafeCell<Bucket>]> {
    (0..buckets).map(|_| UnsafeCell::default()).collect()
}

impl Default for Model {
    fn default() -> Self {
        Self::with_buckets(128)
    }
}

impl Model {
    /// With so many buckets, a power of two, in each part of the flow table.
    #[must_use]
    pub fn with_buckets(buckets: u32) -> Self {
        Self {
            established: Flows::new(buckets),
            pending: Flows::new(buckets),
            answers: free_buckets(2 * buckets),
            vips: HashMap::new(),
            ranges: HashMap::new(),
            quic_ids: HashMap::new(),
            addresses: HashMap::new(),
            services: Vec::new(),
            current_rings: Vec::new(),
            rings: Vec::new(),
            backends: Vec::new(),
            reach: Vec::new(),
            routes: HashMap::new(),
            fragmented: RefCell::default(),
            fragment_id: Cell::default(),
            stretches: Count::default(),
            turn: Mutex::default(),
            load: Vec::new(),
            opened: Vec::new(),
            exhausted: Count::default(),
            source_pool: Vec::new(),
            ports: Vec::new(),
            counters: (0..counter::LENGTH).map(|_| Count::default()).collect(),
            affinity: Mutex::default(),
            source_ports: (2048, 30720),
            now: Count::new(1 << 40),
            ingress: 1,
            crowd: Crowd::default(),
            ingress_mtu: 1500,
            left: Cell::default(),
            answers_due: Cell::new(0),
            resets_due: Cell::new(0),
            turns: Mutex::default(),
            random: Count::default(),
        }
    }

    /// Copies of all open flows of a part.
    #[must_use]
    pub fn flows(&self, part: Part) -> Vec<(Slot, Flow)> {
        self.part(part).open(part).collect()
    }

    /// Words of the answers' index that lead somewhere.
    #[must_use]
    pub fn answers(&self) -> usize {
        // SAFETY: asked between packets, and no reference is held.
        let words = self.answers.iter().flat_map(|bucket| unsafe { *bucket.get() });
        words.filter(|word| *word != 0).count()
    }

    /// Places that are being worked on.
    #[must_use]
    pub fn claimed(&self, part: Part) -> usize {
        // SAFETY: asked between packets, and no reference is held.
        let slots = self.part(part).slots.iter().flat_map(|bucket| unsafe { *bucket.get() });
        slots.filter(|slot| Slot(*slot).has(flow_state::CLAIMED)).count()
    }

    const fn part(&self, part: Part) -> &Flows {
        match part {
            Part::Established => &self.established,
            Part::Pending => &self.pending,
        }
    }
}

impl Tables for Model {
    fn seed(&self) -> [u64; 2] {
        [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]
    }

    fn slot_mask(&self, part: Part) -> u32 {
        self.part(part).slots.len() as u32 - 1
    }

    fn answer_mask(&self) -> u32 {
        self.answers.len() as u32 - 1
    }

    fn slots(&self, part: Part, bucket: u32) -> Option<BucketRef> {
        let words = self.part(part).slots.get(bucket as usize)?;
        // SAFETY: the boxed slice does not move.
        Some(unsafe { BucketRef::new(words.get(), bucket * WAYS) })
    }

    fn answers(&self, bucket: u32) -> Option<BucketRef> {
        // SAFETY: the boxed slice does not move.
        Some(unsafe { BucketRef::new(self.answers.get(bucket as usize)?.get(), 0) })
    }

    fn flow(&self, part: Part, number: u32) -> Option<FlowRef> {
        // SAFETY: the boxed slice does not move.
        Some(unsafe { FlowRef::new(self.part(part).entries.get(number as usize)?.get()) })
    }

    fn tenant(&self, number: u32) -> Option<FlowRef> {
        entry(self, number)
    }

    fn evict(&self, tenant: FlowRef) {
        tenant.set_opened(0);
    }

    fn next_stretch(&self) -> u32 {
        self.stretches.add(u64::from(STRETCH)) as u32
    }

    fn exchange(&self, word: WordRef, old: u64, new: u64) -> bool {
        // SAFETY: an aligned word of a bucket, which lives as long as the model.
        unsafe { AtomicU64::from_ptr(word.as_ptr()) }
            .compare_exchange(old, new, SeqCst, SeqCst)
            .is_ok()
    }

    fn barrier(&self, value: u32) -> u32 {
        value
    }

    fn with_desk<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> Option<R> {
        let onward = self.left.get();
        let answers = self.answers_due.get();
        let (parsed, cpu) = (ParsedPacket::unread(Tag::NONE), thread::current().id());
        let turn = self.turn.lock().expect("no panic").get(&cpu).copied().unwrap_or_default();
        let (resets, message) = (self.resets_due.get(), FlowKey::unread());
        let mut scratch = Scratch { parsed, onward, answers, resets, message, turn, pad: 0 };
        let result = work(&mut scratch);
        self.turn.lock().expect("no panic").insert(cpu, scratch.turn);
        self.answers_due.set(scratch.answers);
        self.resets_due.set(scratch.resets);
        Some(result)
    }

    fn repeat<S: Step<Self>>(&self, times: u32, scratch: &mut Scratch) {
        let _ = (0..times).all(|number| S::take(self, scratch, number));
    }

    fn fragmented(&self, key: &FragmentKey) -> Option<FragmentedRef> {
        let entries = self.fragmented.borrow();
        // SAFETY: boxed, and nobody removes it while a packet holds it.
        Some(unsafe { FragmentedRef::new(entries.get(key)?.get()) })
    }

    fn set_fragmented(&self, key: &FragmentKey, whole: &Fragmented) {
        self.fragmented.borrow_mut().insert(*key, Box::new(UnsafeCell::new(*whole)));
    }

    fn forget_fragmented(&self, key: &FragmentKey) {
        self.fragmented.borrow_mut().remove(key);
    }

    fn next_fragment_id(&self) -> u32 {
        self.fragment_id.replace(self.fragment_id.get().wrapping_add(1))
    }

    fn vip(&self, key: &VipKey) -> Option<Vip> {
        self.vips.get(key).copied()
    }

    fn range(&self, key: &RangeKey) -> Option<Vip> {
        let port = u16::from_be_bytes(key.port);
        let covers = |prefix: &RangeKey| {
            let differ = u32::from(u16::from_be_bytes(prefix.port) ^ port);
            let same = (prefix.address, prefix.protocol) == (key.address, key.protocol);
            same && differ >> (16 - prefix.port_bits()) == 0
        };
        let ranges = self.ranges.iter().filter(|(prefix, _)| covers(prefix));
        ranges.max_by_key(|(prefix, _)| prefix.length).map(|(_, vip)| *vip)
    }

    fn quic_server(&self, key: &QuicKey) -> Option<u32> {
        self.quic_ids.get(key).copied()
    }

    fn address(&self, address: &Address) -> Option<u32> {
        let flags = self.addresses.get(address)?;
        let has_range = self.ranges.keys().any(|key| key.address == *address);
        Some(flags | if has_range { address_flags::RANGES } else { 0 })
    }

    fn service(&self, id: u32) -> Option<&Service> {
        self.services.get(id as usize)
    }

    fn current_ring(&self, service: u32) -> Option<Ring> {
        self.current_rings.get(service as usize).copied()
    }

    fn ring(&self, slot: u32) -> Option<u32> {
        self.rings.get(slot as usize).copied()
    }

    fn backend(&self, id: u32) -> Option<&Backend> {
        self.backends.get(id as usize)
    }

    fn reach(&self, backend: u32) -> Option<ReachRef> {
        // SAFETY: nobody adds backends while packets are under way.
        Some(unsafe { ReachRef::new(self.reach.get(backend as usize)?.get()) })
    }

    fn source(&self, index: u32) -> Option<&Address> {
        self.source_pool.get(index as usize)
    }

    fn next_port(&self, load: u32, by: u32) -> u32 {
        self.ports[load as usize].add(u64::from(by)) as u32
    }

    fn port_count(&self) -> u32 {
        self.source_ports.1.into()
    }

    fn source_port(&self, place: u32) -> [u8; 2] {
        let (first, count) = self.source_ports;
        (first + (place % u32::from(count)) as u16).to_be_bytes()
    }

    fn load(&self, load: u32) -> u64 {
        self.load[load as usize].get()
    }

    fn count_in(&self, load: u32) -> u64 {
        self.load[load as usize].add(1)
    }

    fn count_out(&self, load: u32) {
        self.load[load as usize].take_one();
    }

    fn turn(&self, service: u32) -> u32 {
        let mut turns = self.turns.lock().expect("no panic");
        let turn = turns.entry(service).or_default();
        *turn = turn.wrapping_add(1);
        *turn
    }

    fn affinity(&self, key: &AffinityKey) -> Option<Affinity> {
        self.affinity.lock().expect("no panic").get(key).copied()
    }

    fn set_affinity(&self, key: &AffinityKey, value: Affinity) {
        self.affinity.lock().expect("no panic").insert(*key, value);
    }

    fn opened(&self, backend: u32) {
        self.opened[backend as usize].add(1);
    }

    fn exhausted(&self, _: u32) {
        self.exhausted.add(1);
    }

    fn count(&self, counter: u32) {
        self.counters[counter as usize].add(1);
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn random(&self) -> u32 {
        // A sequence that threads can share.
        (scramble(self.random.add(STEP)) >> 32) as u32
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn ingress_takes(&self, length: u32) -> bool {
        length <= self.ingress_mtu
    }

    fn route(&self, _: &Address, dst: &Address, _: u32, hop: &mut Hop) -> Result<(), Reason> {
        *hop = *self.routes.get(dst).ok_or(Reason::NoRoute)?;
        Ok(())
    }
}
