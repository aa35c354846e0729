//! What the packet path asks of its surroundings: the maps, the clock, the host's routing.

use core::ptr::NonNull;

use crate::{
    abi::{
        Address, Affinity, AffinityKey, Backend, Bucket, CachedHop, Flow, FlowKey, FragmentKey,
        Fragmented, Hop, QuicKey, RangeKey, Reach, Ring, Service, Vip, VipKey,
    },
    arrival::Desk,
    sources::Sources,
    verdict::Reason,
};

/// Everything outside the packet. In the kernel: BPF maps and helpers; in tests: ordinary memory.
pub trait Tables: Sources {
    /// The secret that places flows in buckets.
    fn seed(&self) -> [u64; 2];
    /// Buckets of slots, less one; their number is a power of two.
    fn slot_mask(&self, part: Part) -> u32;
    /// The same for buckets of answers.
    fn answer_mask(&self) -> u32;
    fn slots(&self, part: Part, bucket: u32) -> Option<BucketRef>;
    fn answers(&self, bucket: u32) -> Option<BucketRef>;
    /// An entry by its number within the part.
    fn flow(&self, part: Part, number: u32) -> Option<FlowRef>;
    /// Makes `new` of the word if it is `old`, in one step.
    fn exchange(&self, word: WordRef, old: u64, new: u64) -> bool;

    /// The same value, by way of memory that the kernel's verifier does not follow: it would
    /// otherwise try every value that a search may have found with every other.
    fn launder(&self, value: u32) -> u32;

    /// Lends the place where slow paths work. Never `None`, but the verifier wants to hear it.
    fn with_desk<R>(&self, work: impl FnOnce(&mut Desk) -> R) -> Option<R>;

    /// What is known of a packet of which fragments are still to come.
    fn fragmented(&self, key: &FragmentKey) -> Option<FragmentedRef>;
    /// Another one; the one that was used least lately gives way where there is no room.
    fn set_fragmented(&self, key: &FragmentKey, whole: &Fragmented);
    fn forget_fragmented(&self, key: &FragmentKey);
    /// Counts up by one, over all CPUs.
    fn next_fragment_id(&self) -> u32;

    fn vip(&self, key: &VipKey) -> Option<Vip>;
    /// The service that a port is of by a range.
    fn range(&self, key: &RangeKey) -> Option<Vip>;
    /// The backend that a connection id names.
    fn quic_server(&self, key: &QuicKey) -> Option<u32>;
    /// [`crate::abi::address_flags`] of an announced address.
    fn address(&self, address: &Address) -> Option<u32>;
    /// Whether the address is announced.
    #[inline(always)]
    fn owns(&self, address: &Address) -> bool {
        self.address(address).is_some()
    }
    fn service(&self, id: u32) -> Option<&Service>;
    fn current_ring(&self, service: u32) -> Option<Ring>;
    /// A word of RINGS.
    fn ring(&self, slot: u32) -> Option<u32>;
    fn backend(&self, id: u32) -> Option<&Backend>;
    fn reach(&self, backend: u32) -> Option<ReachRef>;

    /// The place of the range to try next for a source port to a load slot's server; wraps.
    fn next_port(&self, load: u32) -> u32;
    /// The source port at a place, which goes on from the last one to the first.
    fn source_port(&self, place: u32) -> [u8; 2];
    /// Live connections of a load slot.
    fn load(&self, load: u32) -> u64;
    /// One more; tells how many there were.
    fn count_in(&self, load: u32) -> u64;
    fn count_out(&self, load: u32);
    /// How often this CPU has been asked before, for this service; wraps.
    fn turn(&self, service: u32) -> u32;
    /// The backend that a source had last.
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity>;
    fn set_affinity(&self, key: &AffinityKey, value: Affinity);
    /// One more flow for the backend's statistics.
    fn opened(&self, backend: u32);
    /// One more in a counter of [`crate::abi::counter`].
    fn count(&self, counter: u32);

    /// ns of `CLOCK_MONOTONIC_COARSE`.
    fn now(&self) -> u64;
    fn random(&self) -> u32;
    /// The interface that the frame came in by.
    fn ingress(&self) -> u32;
    /// Whether that interface takes IP packets of so many bytes. Receive offload makes longer ones.
    fn ingress_takes(&self, length: u32) -> bool;
    /// Where the host's routing sends a packet. `hop` is left alone where it knows no way.
    fn route(
        &self,
        src: &Address,
        dst: &Address,
        protocol: u32,
        hop: &mut Hop,
    ) -> Result<(), Reason>;
}

/// Which entries and slots: an established flow's or a half-open one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Part {
    Established,
    Pending,
}

/// A word that others may change at any time.
#[derive(Clone, Copy)]
pub struct WordRef(*mut u64);

impl WordRef {
    /// # Safety
    /// `word` must be aligned, and stay valid for as long as the packet at hand is processed.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(word: *mut u64) -> Self {
        Self(word)
    }

    #[inline(always)]
    #[must_use]
    pub const fn as_ptr(self) -> *mut u64 {
        self.0
    }

    #[inline(always)]
    #[must_use]
    pub fn load(self) -> u64 {
        // SAFETY: the word lives as its bucket does; one aligned load, which does not tear.
        unsafe { self.0.read_volatile() }
    }
}

/// A bucket of slots or of answers, in place.
#[derive(Clone, Copy)]
pub struct BucketRef {
    words: *mut Bucket,
    /// The number of its first entry.
    first: u32,
}

impl BucketRef {
    /// # Safety
    /// `words` must stay valid for as long as the packet at hand is processed.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(words: *mut Bucket, first: u32) -> Self {
        Self { words, first }
    }

    /// `way` is taken modulo [`crate::abi::WAYS`].
    #[inline(always)]
    #[must_use]
    pub fn word(self, way: u32) -> WordRef {
        // SAFETY: the bucket lives, as `new` was promised; in bounds by the mask.
        WordRef(unsafe { (&raw mut (*self.words)[0]).add((way & 7) as usize) })
    }

    /// The number of the entry that a slot stands for.
    #[inline(always)]
    #[must_use]
    pub const fn number(self, way: u32) -> u32 {
        self.first + way
    }
}

/// An entry of the flow table, in place.
///
/// What tells flows apart never changes while the entry is open; [`Flow::sequence`] tells whether
/// it still is. Times and the hop are plain stores of aligned words, raced by other CPUs without
/// harm: any of the values is right.
#[derive(Clone, Copy)]
pub struct FlowRef(NonNull<Flow>);

macro_rules! fields {
    ($owner:ident: $($(#[$doc:meta])* $field:ident $(/ $set:ident)?: $type:ty),* $(,)?) => {$(
        $(#[$doc])*
        #[inline(always)]
        #[must_use]
        pub fn $field(self) -> $type {
            // SAFETY: the entry lives, as `new` was promised; field by field, so that no reference
            // to memory that others change is made.
            unsafe { (&raw const (*self.as_ptr()).$field).read() }
        }
        $(
            #[inline(always)]
            pub fn $set(self, value: $type) {
                // SAFETY: as in the reader.
                unsafe { (&raw mut (*self.as_ptr()).$field).write(value) }
            }
        )?
    )*};
}

impl FlowRef {
    /// # Safety
    /// `entry` must stay valid for as long as the packet at hand is processed.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(entry: *mut Flow) -> Self {
        // SAFETY: valid, so not null.
        Self(unsafe { NonNull::new_unchecked(entry) })
    }

    #[inline(always)]
    #[must_use]
    pub const fn as_ptr(self) -> *mut Flow {
        self.0.as_ptr()
    }

    fields! { Flow:
        protocol / set_protocol: u32,
        client / set_client: Address,
        vip / set_vip: Address,
        client_port / set_client_port: [u8; 2],
        vip_port / set_vip_port: [u8; 2],
        backend_port / set_backend_port: [u8; 2],
        source_port / set_source_port: [u8; 2],
        backend_address / set_backend_address: Address,
        source / set_source: Address,
        l3_delta / set_l3_delta: u16,
        l4_delta / set_l4_delta: u16,
        backend / set_backend: u32,
        load / set_load: u32,
        service / set_service: u32,
        mode / set_mode: u32,
        number / set_number: u32,
        expected / set_expected: [u8; 4],
        overhead / set_overhead: u32,
        opened / set_opened: u64,
        seen / set_seen: u64,
        answered / set_answered: u64,
        hop / set_hop: CachedHop,
    }

    /// [`Flow::sequence`], read where the program says and not where it is convenient.
    #[inline(always)]
    #[must_use]
    pub fn sequence(self) -> u32 {
        // SAFETY: as in the readers above.
        unsafe { (&raw const (*self.as_ptr()).sequence).read_volatile() }
    }

    #[inline(always)]
    pub fn set_sequence(self, value: u32) {
        // SAFETY: as in the readers above.
        unsafe { (&raw mut (*self.as_ptr()).sequence).write_volatile(value) }
    }

    /// Reads a word of each of its cache lines, for nothing but to have them in the cache.
    #[inline(always)]
    pub fn touch(self) {
        for word in [0, 8, 16, size_of::<Flow>() / 8 - 1] {
            // SAFETY: within the entry, as in the readers above.
            unsafe { self.as_ptr().cast::<u64>().add(word).read_volatile() };
        }
    }

    /// When the way back was looked up.
    #[inline(always)]
    #[must_use]
    pub fn hop_at(self) -> u64 {
        // SAFETY: as in the readers above.
        unsafe { (&raw const (*self.as_ptr()).hop.at).read() }
    }

    /// The way back, read where it is used: a copy would cost stack that the kernel does not have.
    #[inline(always)]
    #[must_use]
    pub fn way_back(self) -> Hop {
        // SAFETY: as in the readers above.
        unsafe { (&raw const (*self.as_ptr()).hop.hop).read() }
    }

    /// The last packet of either direction.
    #[inline(always)]
    #[must_use]
    pub fn last(self) -> u64 {
        let (seen, answered) = (self.seen(), self.answered());
        if seen > answered { seen } else { answered }
    }

    /// Whether a client's packet with this key belongs to the flow.
    #[inline(always)]
    #[must_use]
    pub fn is_from_client(self, key: &FlowKey) -> bool {
        self.client() == key.src
            && self.vip() == key.dst
            && self.client_port() == key.src_port
            && self.vip_port() == key.dst_port
            && self.protocol() == key.protocol
    }

    /// Whether a backend's packet with this key belongs to the flow.
    #[inline(always)]
    #[must_use]
    pub fn is_from_backend(self, key: &FlowKey) -> bool {
        self.backend_address() == key.src
            && self.source() == key.dst
            && self.backend_port() == key.src_port
            && self.source_port() == key.dst_port
            && self.protocol() == key.protocol
    }

    /// Takes over all but what belongs to the place.
    #[inline(always)]
    pub fn copy_from(self, other: Self) {
        let number = self.number();
        self.set_protocol(other.protocol());
        let (to, from) = (self.as_ptr().cast::<u64>(), other.as_ptr().cast::<u64>());
        // The first word has the sequence, which is the place's own.
        for word in 1..size_of::<Flow>() / size_of::<u64>() {
            // SAFETY: both entries live, and the words lie within them.
            unsafe { to.add(word).write(from.add(word).read()) };
        }
        self.set_number(number);
    }

    /// The key of the client's packets.
    #[inline(always)]
    #[must_use]
    pub fn question(self) -> FlowKey {
        FlowKey {
            src: self.client(),
            dst: self.vip(),
            src_port: self.client_port(),
            dst_port: self.vip_port(),
            protocol: self.protocol(),
        }
    }

    /// The key of the backend's packets (`nat`).
    #[inline(always)]
    #[must_use]
    pub fn answer(self) -> FlowKey {
        FlowKey {
            src: self.backend_address(),
            dst: self.source(),
            src_port: self.backend_port(),
            dst_port: self.source_port(),
            protocol: self.protocol(),
        }
    }
}

/// A packet that comes in fragments, in place. Its fragments may be with several CPUs at once, which
/// then count too few bytes, and the entry stays until its time is up.
#[derive(Clone, Copy)]
pub struct FragmentedRef(*mut Fragmented);

impl FragmentedRef {
    /// # Safety
    /// As for [`FlowRef::new`].
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(whole: *mut Fragmented) -> Self {
        Self(whole)
    }

    const fn as_ptr(self) -> *mut Fragmented {
        self.0
    }

    fields! { Fragmented:
        at: u64,
        src_port: [u8; 2],
        dst_port: [u8; 2],
        protocol: u32,
        id: u32,
        original: u32,
        first: u32,
        seen / set_seen: u32,
        whole / set_whole: u32,
    }
}

/// How packets reach a backend, in place.
#[derive(Clone, Copy)]
pub struct ReachRef(*mut Reach);

impl ReachRef {
    /// # Safety
    /// As for [`FlowRef::new`].
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(reach: *mut Reach) -> Self {
        Self(reach)
    }

    const fn as_ptr(self) -> *mut Reach {
        self.0
    }

    fields! { Reach:
        hop / set_hop: Hop,
        at / set_at: u64,
        status: u32,
    }
}
