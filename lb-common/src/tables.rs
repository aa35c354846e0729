//! What the packet path asks of its surroundings: the maps, the clock, the host's routing.

use crate::{
    abi::{Address, Backend, CachedHop, Flow, FlowKey, Hop, Service, Vip, VipKey},
    verdict::Reason,
};

/// Everything outside the packet. In the kernel: BPF maps and helpers; in tests: ordinary maps.
pub trait Tables {
    fn flow(&self, key: &FlowKey) -> Option<FlowRef>;
    /// Adds an entry where none is; of two concurrent callers one gets [`Refused::Taken`].
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused>;
    fn remove_flow(&self, key: &FlowKey);
    /// Sets bits of a flow's state in one step and tells what they were.
    fn mark(&self, flow: FlowRef, bits: u32) -> u32;

    fn vip(&self, key: &VipKey) -> Option<Vip>;
    /// Whether the address is announced.
    fn owns(&self, address: &Address) -> bool;
    fn service(&self, id: u32) -> Option<Service>;
    /// The backend id in a slot of RINGS.
    fn ring(&self, slot: u32) -> Option<u32>;
    fn backend(&self, id: u32) -> Option<Backend>;
    fn hop(&self, backend: u32) -> Option<CachedHop>;
    fn save_hop(&self, backend: u32, hop: &CachedHop);

    /// The next source port to try towards a backend; goes through the whole range in turn.
    fn next_port(&self, load: u32) -> [u8; 2];
    fn count_in(&self, load: u32);
    fn count_out(&self, load: u32);
    /// One more flow for the backend's statistics.
    fn opened(&self, backend: u32);

    /// Lends the place where a new flow is put together. `None` never happens in the kernel, but
    /// the verifier wants to hear it.
    fn with_draft<R>(&self, work: impl FnOnce(&mut Draft) -> R) -> Option<R>;
    /// The flow in that place, while nobody works on it.
    fn drafted(&self) -> Option<FlowRef>;

    /// ns of `CLOCK_MONOTONIC_COARSE`.
    fn now(&self) -> u64;
    /// The interface that the frame came in by.
    fn ingress(&self) -> u32;
    /// Where the host's routing sends a packet. `hop` is left alone where it knows no way.
    fn route(
        &self,
        src: &Address,
        dst: &Address,
        protocol: u32,
        hop: &mut Hop,
    ) -> Result<(), Reason>;
}

/// A flow that is being put together. Too large for a BPF program's 512 bytes of stack.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Draft {
    /// First the reverse direction, then the forward one.
    pub flow: Flow,
    /// The reverse direction's key.
    pub answer: FlowKey,
}

/// Why an entry was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The key is in use.
    Taken,
    /// The table is full.
    Full,
}

/// An entry of the flow table, in place.
///
/// Addresses, ports and deltas never change while the entry lives. The times and the hop are
/// plain stores of aligned words, raced by other CPUs without harm: any of the values is right.
#[derive(Clone, Copy)]
pub struct FlowRef(*mut Flow);

macro_rules! read {
    ($($(#[$doc:meta])* $field:ident: $type:ty),* $(,)?) => {$(
        $(#[$doc])*
        #[inline(always)]
        #[must_use]
        pub fn $field(self) -> $type {
            // SAFETY: the entry lives, as `new` was promised; field by field, so that no reference
            // to memory that others change is made.
            unsafe { (&raw const (*self.0).$field).read() }
        }
    )*};
}

impl FlowRef {
    /// # Safety
    /// `entry` must stay valid for as long as the packet at hand is processed.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(entry: *mut Flow) -> Self {
        Self(entry)
    }

    /// An entry that no table holds yet.
    #[inline(always)]
    #[must_use]
    pub const fn of_draft(draft: &mut Draft) -> Self {
        Self(&raw mut draft.flow)
    }

    #[inline(always)]
    #[must_use]
    pub const fn as_ptr(self) -> *mut Flow {
        self.0
    }

    read! {
        src: Address,
        dst: Address,
        src_port: [u8; 2],
        dst_port: [u8; 2],
        l3_delta: u16,
        l4_delta: u16,
        hop: CachedHop,
        seen: u64,
        backend: u32,
        load: u32,
        state: u32,
        direction: u32,
    }

    /// When the hop was looked up.
    #[inline(always)]
    #[must_use]
    pub fn hop_at(self) -> u64 {
        // SAFETY: as in the readers above.
        unsafe { (&raw const (*self.0).hop.at).read() }
    }

    /// The hop, read where it is used: a copy would cost stack that the kernel does not have.
    #[inline(always)]
    #[must_use]
    pub fn next_hop(self) -> Hop {
        // SAFETY: as in the readers above.
        unsafe { (&raw const (*self.0).hop.hop).read() }
    }

    #[inline(always)]
    pub fn set_seen(self, now: u64) {
        // SAFETY: as in the readers.
        unsafe { (&raw mut (*self.0).seen).write(now) }
    }

    #[inline(always)]
    pub fn set_hop(self, hop: &CachedHop) {
        // SAFETY: as in the readers.
        unsafe { (&raw mut (*self.0).hop).write(*hop) }
    }

    /// The key of the other direction: what the answer to a rewritten packet looks like.
    #[inline(always)]
    #[must_use]
    pub fn partner(self, protocol: u32) -> FlowKey {
        FlowKey {
            src: self.dst(),
            dst: self.src(),
            src_port: self.dst_port(),
            dst_port: self.src_port(),
            protocol,
        }
    }
}
