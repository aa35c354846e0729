//! The packet path's view of its maps.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

use aya_ebpf::{bindings::xdp_md, helpers::bpf_check_mtu, maps::lpm_trie};
use lb_common::{
    abi::{
        Address, Affinity, AffinityKey, Backend, FragmentKey, Fragmented, Hop, QuicKey, RING_WORDS,
        RangeKey, Reach, Ring, Service, Vip, VipKey, WAYS, live,
    },
    flows::entry,
    half_open::STRETCH,
    map_values::{BucketRef, FlowRef, FragmentedRef, ReachRef, WordRef},
    parsed::Scratch,
    tables::{Part, Step, Tables},
    verdict::Reason,
};

pub use crate::declared::LISTENERS;
use crate::{declared::*, prng, repeat::repeat, route::route};

macro_rules! global {
    ($name:ident) => {
        // SAFETY: a live static; volatile, since the loader writes it behind the compiler's back.
        unsafe { (&raw const $name).read_volatile() }
    };
}

// Atomics whose result is used are SeqCst: relaxed ones become BPF's form without a result, and
// what comes back is the operand.

#[inline(always)]
pub fn count(slot: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(slot) {
        // SAFETY: a slot of this CPU's own, and XDP does not nest.
        unsafe { *counter += 1 };
    }
}

/// What VIPS says of a destination.
#[inline(always)]
pub fn vip(key: &VipKey) -> Option<Vip> {
    // SAFETY: entries are replaced whole by the daemon and are two independent words.
    unsafe { VIPS.get(key) }.copied()
}

/// What RANGES says of a destination.
#[inline(always)]
pub fn range(key: &RangeKey) -> Option<Vip> {
    // SAFETY: the same bytes, with less to ask of their alignment.
    RANGES.get(unsafe { &*(&raw const *key).cast::<lpm_trie::Key<RangeData>>() }).copied()
}

/// What ADDRESSES says of one.
#[inline(always)]
pub fn address(address: &Address) -> Option<u32> {
    // SAFETY: one aligned word.
    unsafe { ADDRESSES.get(address) }.copied()
}

/// An entry of the flow table.
#[inline(always)]
pub fn flow(part: Part, number: u32) -> Option<FlowRef> {
    let entry = match part {
        Part::Established => FLOWS.get_ptr_mut(number),
        Part::Pending => PENDING.get_ptr_mut(number),
    };
    // SAFETY: a map's memory outlives every packet.
    entry.map(|entry| unsafe { FlowRef::new(entry) })
}

#[inline(always)]
pub fn reach(backend: u32) -> Option<*mut Reach> {
    REACH.get_ptr_mut(backend)
}

#[inline(always)]
pub fn fragmented(key: &FragmentKey) -> Option<*mut Fragmented> {
    FRAGMENTS.get_ptr_mut(key)
}

/// The maps and helpers, for the packet of one context.
pub struct Kernel {
    ctx: *mut xdp_md,
}

impl Kernel {
    #[inline(always)]
    pub const fn new(ctx: *mut xdp_md) -> Self {
        Self { ctx }
    }
}

#[cfg(feature = "log")]
impl aya_ebpf::EbpfContext for Kernel {
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        self.ctx.cast()
    }
}

impl Tables for Kernel {
    #[inline(always)]
    fn seed(&self) -> [u64; 2] {
        global!(SEED)
    }

    #[inline(always)]
    fn slot_mask(&self, part: Part) -> u32 {
        match part {
            Part::Established => global!(FLOW_MASK),
            Part::Pending => global!(PENDING_MASK),
        }
    }

    #[inline(always)]
    fn answer_mask(&self) -> u32 {
        global!(ANSWER_MASK)
    }

    #[inline(always)]
    fn slots(&self, part: Part, bucket: u32) -> Option<BucketRef> {
        let words = match part {
            Part::Established => FLOW_SLOTS.get_ptr_mut(bucket),
            Part::Pending => PENDING_SLOTS.get_ptr_mut(bucket),
        };
        // SAFETY: a map's memory outlives every packet.
        words.map(|words| unsafe { BucketRef::new(words, bucket * WAYS) })
    }

    #[inline(always)]
    fn answers(&self, bucket: u32) -> Option<BucketRef> {
        // SAFETY: as above.
        ANSWERS.get_ptr_mut(bucket).map(|words| unsafe { BucketRef::new(words, 0) })
    }

    #[inline(always)]
    fn flow(&self, part: Part, number: u32) -> Option<FlowRef> {
        flow(part, number)
    }

    #[inline(always)]
    fn tenant(&self, number: u32) -> Option<FlowRef> {
        entry(self, number)
    }

    #[inline(always)]
    fn evict(&self, tenant: FlowRef) {
        tenant.set_opened(0);
    }

    #[inline(always)]
    fn next_stretch(&self) -> u32 {
        let Some(next) = STRETCHES.get_ptr_mut(0) else { return 0 };
        // SAFETY: in bounds of the map.
        unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(next, STRETCH) }
    }

    #[inline(always)]
    fn exchange(&self, word: WordRef, old: u64, new: u64) -> bool {
        use AtomicOrdering::SeqCst;
        // SAFETY: a live aligned word, as WordRef promises.
        unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(word.as_ptr(), old, new).0 == old }
    }

    #[inline(always)]
    fn barrier(&self, value: u32) -> u32 {
        let Some(place) = SCRATCH.get_ptr_mut(0) else { return 0 };
        // SAFETY: this CPU's own, and XDP does not nest; volatile, or the compiler would see
        // through.
        unsafe {
            place.write_volatile(value);
            place.read_volatile()
        }
    }

    #[inline(always)]
    fn with_desk<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> Option<R> {
        // SAFETY: this CPU's own, XDP does not nest, and the pipeline lends it once at a time.
        DESK.get_ptr_mut(0).map(|scratch| work(unsafe { &mut *scratch }))
    }

    #[inline(always)]
    fn repeat<S: Step<Self>>(&self, times: u32, scratch: &mut Scratch) {
        repeat::<Self, S>(self, times, scratch);
    }

    #[inline(always)]
    fn fragmented(&self, key: &FragmentKey) -> Option<FragmentedRef> {
        // SAFETY: a map's memory outlives every packet.
        FRAGMENTS.get_ptr_mut(key).map(|whole| unsafe { FragmentedRef::new(whole) })
    }

    #[inline(always)]
    fn set_fragmented(&self, key: &FragmentKey, whole: &Fragmented) {
        // Without room, which an LRU map always makes, the fragments to come are dropped and
        // counted.
        let _ = FRAGMENTS.insert(key, whole, 0);
    }

    #[inline(always)]
    fn forget_fragmented(&self, key: &FragmentKey) {
        let _ = FRAGMENTS.remove(key);
    }

    #[inline(always)]
    fn next_fragment_id(&self) -> u32 {
        let Some(next) = FRAGMENT_IDS.get_ptr_mut(0) else { return 0 };
        // SAFETY: in bounds of the map.
        unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(next, 1) }
    }

    #[inline(always)]
    fn vip(&self, key: &VipKey) -> Option<Vip> {
        vip(key)
    }

    #[inline(always)]
    fn range(&self, key: &RangeKey) -> Option<Vip> {
        range(key)
    }

    #[inline(always)]
    fn quic_server(&self, key: &QuicKey) -> Option<u32> {
        // SAFETY: one aligned word.
        unsafe { QUIC_IDS.get(key) }.copied()
    }

    #[inline(always)]
    fn address(&self, key: &Address) -> Option<u32> {
        address(key)
    }

    #[inline(always)]
    fn service(&self, id: u32) -> Option<&Service> {
        SERVICES.get(id)
    }

    #[inline(always)]
    fn current_ring(&self, service: u32) -> Option<Ring> {
        // SAFETY: one aligned word, read once: a ring's offset and length never come apart.
        CURRENT_RINGS.get_ptr(service).map(|ring| unsafe { ring.read_volatile() })
    }

    #[inline(always)]
    fn ring(&self, slot: u32) -> Option<u32> {
        let words = RINGS.get_ptr(slot / RING_WORDS)?.cast::<u32>();
        // SAFETY: in bounds of the entry; an aligned word, which the daemon writes while no
        // service's ring is there.
        Some(unsafe { words.add((slot % RING_WORDS) as usize).read_volatile() })
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<&Backend> {
        BACKENDS.get(id)
    }

    #[inline(always)]
    fn reach(&self, backend: u32) -> Option<ReachRef> {
        // SAFETY: a map's memory outlives every packet.
        REACH.get_ptr_mut(backend).map(|reach| unsafe { ReachRef::new(reach) })
    }

    #[inline(always)]
    fn source(&self, index: u32) -> Option<&Address> {
        SOURCE_POOL.get(index)
    }

    #[inline(always)]
    fn next_port(&self, load: u32, by: u32) -> u32 {
        match PORTS.get_ptr_mut(load) {
            // SAFETY: in bounds of the map.
            Some(cursor) => unsafe {
                atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(cursor, by)
            },
            None => 0,
        }
    }

    #[inline(always)]
    fn port_count(&self) -> u32 {
        global!(SOURCE_PORT_COUNT)
    }

    #[inline(always)]
    fn source_port(&self, place: u32) -> [u8; 2] {
        // A count of 0 would be a panic, which the kernel has none of.
        let place = place.checked_rem(global!(SOURCE_PORT_COUNT)).unwrap_or(0);
        ((global!(SOURCE_PORT_FIRST) + place) as u16).to_be_bytes()
    }

    #[inline(always)]
    fn load(&self, load: u32) -> u64 {
        // SAFETY: one aligned word.
        LOAD.get_ptr(load).map_or(0, |word| live::count(unsafe { word.read_volatile() }))
    }

    #[inline(always)]
    fn count_in(&self, load: u32) -> u64 {
        live::count(add_load(load, live::IN))
    }

    #[inline(always)]
    fn count_out(&self, load: u32) {
        add_load(load, live::OUT);
    }

    #[inline(always)]
    fn turn(&self, service: u32) -> u32 {
        let Some(turn) = TURNS.get_ptr_mut(service) else { return 0 };
        // SAFETY: this CPU's own, and XDP does not nest.
        unsafe {
            *turn = (*turn).wrapping_add(1);
            *turn
        }
    }

    #[inline(always)]
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity> {
        // SAFETY: CPUs that race here for one source write what is right for either.
        unsafe { AFFINITY.get(key) }.copied()
    }

    #[inline(always)]
    fn set_affinity(&self, key: &AffinityKey, value: Affinity) {
        match AFFINITY.get_ptr_mut(key) {
            // SAFETY: as above; in place, which takes no lock.
            Some(place) => unsafe { *place = value },
            // Full of newer ones: the source is not remembered this time.
            None => drop(AFFINITY.insert(key, value, 0)),
        }
    }

    #[inline(always)]
    fn opened(&self, backend: u32) {
        if let Some(counter) = OPENED.get_ptr_mut(backend) {
            // SAFETY: a slot of this CPU's own, and XDP does not nest.
            unsafe { *counter += 1 };
        }
    }

    #[inline(always)]
    fn exhausted(&self, backend: u32) {
        if let Some(counter) = EXHAUSTED.get_ptr_mut(backend) {
            // SAFETY: as above.
            unsafe { *counter += 1 };
        }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        prng::now()
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: the context is the kernel's own.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn ingress_takes(&self, length: u32) -> bool {
        let mut mtu = length;
        // SAFETY: the context is the kernel's own; interface 0 is the one that the frame came in
        // by.
        unsafe { bpf_check_mtu(self.ctx.cast(), 0, &raw mut mtu, 0, 0) == 0 }
    }

    #[inline(always)]
    fn count(&self, counter: u32) {
        count(counter);
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        prng::random()
    }

    #[inline(always)]
    fn route(
        &self,
        src: &Address,
        dst: &Address,
        protocol: u32,
        hop: &mut Hop,
    ) -> Result<(), Reason> {
        route(self.ctx, src, dst, protocol, hop)
    }
}

#[inline(always)]
fn add_load(slot: u32, by: u64) -> u64 {
    match LOAD.get_ptr_mut(slot) {
        // SAFETY: in bounds; the proxy changes the same word with atomics.
        Some(word) => unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(word, by) },
        None => 0,
    }
}
