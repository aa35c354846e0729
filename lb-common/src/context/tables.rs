//! What the packet path asks of its surroundings: the maps, the clock, the host's routing.

use super::{
    map_values::{BucketRef, FlowRef, FragmentedRef, ReachRef, WordRef},
    parsed::Scratch,
    source_tables::Sources,
    verdict::Reason,
};
use crate::abi::{
    Address, Affinity, AffinityKey, Backend, FragmentKey, Fragmented, Hop, QuicKey, RangeKey, Ring,
    Service, Vip, VipKey,
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
    /// An entry, by [`Flow::number`](crate::abi::Flow::number), that is no flow of the packet's: it
    /// is only looked at.
    fn tenant(&self, number: u32) -> Option<FlowRef>;
    /// Gives such an entry back, whose flow was taken out.
    fn evict(&self, tenant: FlowRef);
    /// Entries for half-open flows that nobody else gets before all others have been given:
    /// `STRETCH` from the one that is told on. Wraps.
    fn next_stretch(&self) -> u32;
    /// Makes `new` of the word if it is `old`, in one step.
    fn exchange(&self, word: WordRef, old: u64, new: u64) -> bool;

    /// The same for the word of an answer that leads from one flow to another.
    #[inline(always)]
    fn hand_over(&self, word: WordRef, old: u64, new: u64) -> bool {
        self.exchange(word, old, new)
    }

    /// The same value, by way of memory that the kernel's verifier does not follow: it would
    /// otherwise try every value that a search may have found with every other.
    fn barrier(&self, value: u32) -> u32;

    /// Lends the place where slow paths work. Never `None`, but the verifier wants to hear it.
    fn with_desk<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> Option<R>;

    /// Takes a step, so often at most, with its number from 0, until it answers `false`. What steps
    /// leave for each other, and for the caller, stands on the scratch. The kernel's verifier
    /// checks the step once, and not the loop.
    fn repeat<S: Step<Self>>(&self, times: u32, scratch: &mut Scratch)
    where
        Self: Sized;

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

    /// An address that packets to backends may carry, of SOURCE_POOL.
    fn source(&self, index: u32) -> Option<&Address>;
    /// Whose turn it is among our ends, addresses and ports, towards a load slot's server. `by` of
    /// them have had theirs then. Wraps.
    fn next_port(&self, load: u32, by: u32) -> u32;
    /// The source port at a place, which goes on from the last one to the first.
    fn source_port(&self, place: u32) -> [u8; 2];
    /// How many source ports there are.
    fn port_count(&self) -> u32;
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
    /// One more that found no source port, towards this one last.
    fn exhausted(&self, backend: u32);
    /// One more in a counter of [`crate::abi::counter`].
    fn count(&self, counter: u32);

    /// ns of `CLOCK_MONOTONIC_COARSE`.
    fn now(&self) -> u64;
    fn random(&self) -> u32;
    /// The interface that the frame came in by.
    fn ingress(&self) -> u32;
    /// Whether that interface takes IP packets of so many bytes. Receive offload makes longer ones.
    fn ingress_takes(&self, length: u32) -> bool;
    /// Where the host's routing sends a packet of that `protocol`; with [`NEIGHBOUR`] only if there
    /// is no router in between. `hop` is left alone where it knows no way.
    fn route(
        &self,
        src: &Address,
        dst: &Address,
        protocol: u32,
        hop: &mut Hop,
    ) -> Result<(), Reason>;
}

/// What [`Tables::repeat`] does again and again.
pub trait Step<T> {
    fn take(tables: &T, scratch: &mut Scratch, number: u32) -> bool;
}

/// Beside the protocol of [`Tables::route`]: the destination is to be on a link of ours.
pub const NEIGHBOUR: u32 = 1 << 8;

/// Which entries and slots: an established flow's or a half-open one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Part {
    Established,
    Pending,
}
