//! What lies in the maps, used where it lies: other CPUs and the daemon use it at the same time, so
//! that there is never a Rust reference to it.

use core::ptr::NonNull;

use crate::abi::{Address, Bucket, CachedHop, Flow, FlowKey, Fragmented, Hop, Meter, Reach};

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

    /// Where any value that CPUs write there is right.
    #[inline(always)]
    pub fn store(self, value: u64) {
        // SAFETY: the word lives as its map does; one aligned store, which does not tear.
        unsafe { self.0.write_volatile(value) }
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

/// Fields of [`Flow`] that are less than a word there.
macro_rules! small {
    ($($field:ident / $set:ident: $type:ty),*) => {$(
        #[inline(always)]
        #[must_use]
        pub fn $field(self) -> u32 {
            // SAFETY: as above.
            unsafe { (&raw const (*self.as_ptr()).$field).read() as u32 }
        }

        #[inline(always)]
        pub fn $set(self, value: u32) {
            // SAFETY: as above.
            unsafe { (&raw mut (*self.as_ptr()).$field).write(value as $type) }
        }
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
        number / set_number: u32,
        slot / set_slot: u32,
        sent / set_sent: [u8; 4], replied / set_replied: [u8; 4],
        expected / set_expected: [u8; 4],
        seen / set_seen: u64,
        answered / set_answered: u64,
        hop / set_hop: CachedHop,
    }

    small! { mode / set_mode: u8, watched / set_watched: u8, overhead / set_overhead: u16 }

    /// Makes an entry free that its owner has not opened, or will not.
    #[inline(always)]
    pub fn release(self) {
        self.set_opened(0);
        self.set_sequence(self.sequence().wrapping_add(1));
    }

    /// Reads a word of each of its cache lines, for nothing but to have them in the cache.
    #[inline(always)]
    pub fn touch(self) {
        for word in [0, 8, 16, size_of::<Flow>() / 8 - 1] {
            // SAFETY: within the entry, as in the readers above.
            unsafe { self.as_ptr().cast::<u64>().add(word).read_volatile() };
        }
    }

    /// The word that begins with [`Flow::sequence`].
    #[inline(always)]
    #[must_use]
    pub const fn head(self) -> WordRef {
        // SAFETY: the first of the entry's aligned words.
        unsafe { WordRef::new(self.as_ptr().cast()) }
    }

    /// [`Flow::opened`], read and written where the program says, as the sequence is.
    #[inline(always)]
    #[must_use]
    pub fn opened(self) -> u64 {
        // SAFETY: as in the readers above.
        unsafe { (&raw const (*self.as_ptr()).opened).read_volatile() }
    }

    #[inline(always)]
    pub fn set_opened(self, value: u64) {
        // SAFETY: as in the readers above.
        unsafe { (&raw mut (*self.as_ptr()).opened).write_volatile(value) }
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
        let (number, slot) = (self.number(), self.slot());
        self.set_protocol(other.protocol());
        let (to, from) = (self.as_ptr().cast::<u64>(), other.as_ptr().cast::<u64>());
        // The first word has the sequence, which is the place's own.
        for word in 1..size_of::<Flow>() / size_of::<u64>() {
            // SAFETY: both entries live, and the words lie within them.
            unsafe { to.add(word).write(from.add(word).read()) };
        }
        self.set_number(number);
        self.set_slot(slot);
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

/// A packet that comes in fragments, in place. Its fragments may be with several CPUs at once,
/// which then count too few bytes, and the entry stays until its time is up.
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

/// A service's meter, in place.
#[derive(Clone, Copy)]
pub struct MeterRef(*mut Meter);

impl MeterRef {
    /// # Safety
    /// `meter` must stay valid for as long as the packet at hand is processed.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(meter: *mut Meter) -> Self {
        Self(meter)
    }

    /// [`Meter::due`].
    #[inline(always)]
    #[must_use]
    pub const fn due(self) -> WordRef {
        // SAFETY: the meter lives, as `new` was promised; its fields are aligned words.
        unsafe { WordRef::new(&raw mut (*self.0).due) }
    }

    /// [`Meter::window`].
    #[inline(always)]
    #[must_use]
    pub const fn window(self) -> WordRef {
        // SAFETY: as above.
        unsafe { WordRef::new(&raw mut (*self.0).window) }
    }

    /// [`Meter::attacked`].
    #[inline(always)]
    #[must_use]
    pub const fn attacked(self) -> WordRef {
        // SAFETY: as above.
        unsafe { WordRef::new(&raw mut (*self.0).attacked) }
    }
}
