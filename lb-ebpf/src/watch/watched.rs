//! The packet path's surroundings with somebody looking on.

use aya_ebpf::{macros::map, maps::PerCpuArray, programs::XdpContext};
use lb_common::{
    abi::{
        Address, Affinity, AffinityKey, Backend, Decision, FragmentKey, Fragmented, Hop, ListKey,
        PENDING, QuicKey, RangeKey, Ring, Service, Slot, SourceKey, Vip, VipKey, counter,
        flow_state, met, outcome,
    },
    map_values::{BucketRef, FlowRef, FragmentedRef, MeterRef, ReachRef, WordRef},
    packet::Packet as _,
    parse::{Kind, TCP, UDP},
    parsed::Scratch,
    source_tables::Sources,
    tables::{Part, Step, Tables},
    verdict::{Reason, Verdict},
};

use super::dry;
use crate::{
    cursors::{fragment_cursor, port_cursor, stretch_cursor, turns},
    frame::Frame,
    maps::Kernel,
    repeat::repeat,
};

/// Of the packet at hand.
#[map]
pub(super) static WATCHED: PerCpuArray<Decision> = PerCpuArray::with_max_entries(1, 0);
/// Of the last explained one.
#[map]
static EXPLANATION: PerCpuArray<Decision> = PerCpuArray::with_max_entries(1, 0);
/// [`Kernel`] with notes of what it is asked. `DRY`: and without any effect beyond the packet.
pub struct Watched<const DRY: bool> {
    kernel: Kernel,
    /// Looked up once: where each note asks whether there is a place for it, the verifier follows
    /// both answers.
    decision: *mut Decision,
}

impl<const DRY: bool> Watched<DRY> {
    /// Begins the notes on one packet. `None` never happens, but the verifier wants to hear it.
    #[inline(always)]
    pub fn begin(ctx: &XdpContext) -> Option<Self> {
        let place = if DRY { EXPLANATION.get_ptr_mut(0) } else { WATCHED.get_ptr_mut(0) };
        let watched = Self { kernel: Kernel::new(ctx.ctx), decision: place? };
        let (now, ingress) = (watched.kernel.now(), watched.kernel.ingress());
        let length = (ctx.data_end() - ctx.data()) as u64;
        let ethertype = ethertype(ctx);
        watched.note(|decision| {
            decision.at = now;
            decision.met = 0;
            decision.ingress = ingress;
            decision.length = length;
            decision.ethertype = ethertype;
            decision.flow.number = 0;
        });
        if DRY {
            dry::forget_copies();
        }
        Some(watched)
    }

    #[inline(always)]
    fn note(&self, write: impl FnOnce(&mut Decision)) {
        // SAFETY: this CPU's own, and XDP does not nest.
        write(unsafe { &mut *self.decision });
    }

    #[inline(always)]
    fn note_vip(&self, vip: Vip) {
        self.note(|decision| {
            decision.met |= met::VIP;
            (decision.service, decision.path) = (vip.service, vip.path);
        });
    }

    /// Ends them.
    #[inline(always)]
    pub fn end(self, verdict: Verdict) {
        let (outcome, reason, egress, vlan) = match verdict {
            Verdict::Pass => (outcome::PASS, 0, 0, 0),
            Verdict::Proxy => (outcome::PROXY, 0, 0, 0),
            Verdict::Steer { ifindex, vlan } => (outcome::STEER, 0, ifindex, vlan as u32),
            Verdict::Reply => (outcome::REPLY, 0, self.kernel.ingress(), 0),
            Verdict::Answer(reason) => (outcome::ANSWER, reason as u32, self.kernel.ingress(), 0),
            Verdict::Drop(reason) => (outcome::DROP, reason as u32, 0, 0),
        };
        self.note(|decision| {
            decision.outcome = outcome;
            decision.reason = reason;
            decision.egress = egress;
            decision.vlan = vlan;
        });
        conclude::<DRY>(self.decision);
    }
}

/// Of what carries no key there is nothing else to tell.
#[inline(always)]
fn ethertype(ctx: &XdpContext) -> u32 {
    /// Behind both stations' addresses.
    const PLACE: usize = 12;
    let frame = Frame::new(XdpContext::new(ctx.ctx));
    frame.at::<[u8; 2]>(PLACE).map_or(0, |&bytes| u32::from(u16::from_be_bytes(bytes)))
}

/// Copies the flow that was looked at last beside the notes.
#[inline(never)]
fn conclude<const DRY: bool>(decision: *mut Decision) {
    // SAFETY: this CPU's own, and XDP does not nest.
    let decision = unsafe { &mut *decision };
    if decision.met & met::FLOW == 0 {
        return;
    }
    let number = decision.flow.number;
    let part = if number & PENDING == 0 { Part::Established } else { Part::Pending };
    let Some(flow) = entry::<DRY>(part, number & !PENDING) else { return };
    dry::copy_flow(flow.as_ptr().cast_const().cast(), (&raw mut decision.flow).cast());
}

#[inline(always)]
fn entry<const DRY: bool>(part: Part, number: u32) -> Option<FlowRef> {
    if !DRY {
        return crate::maps::flow(part, number);
    }
    // SAFETY: a map's memory outlives every packet.
    dry::flow(part, number).map(|copy| unsafe { FlowRef::new(copy) })
}

/// 1 if a slot that was claimed is opened for a flow whose client has shown that it is there, one
/// that was half open until now; else 0. In arithmetic, since the verifier follows every branch.
#[inline(always)]
const fn establishes(old: u64, new: u64) -> u32 {
    const fn bit(word: u64, state: u32) -> u64 {
        word >> state.trailing_zeros()
    }
    let claimed = bit(old, flow_state::CLAIMED) & !bit(new, flow_state::CLAIMED);
    let opened = bit(new, flow_state::OPEN) & bit(new, flow_state::CONFIRMED);
    (claimed & opened & 1) as u32
}

/// What is asked of the kernel's tables as it is.
macro_rules! pass_on {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $answer:ty)?;)*) => {$(
        #[inline(always)]
        fn $name(&self, $($argument: $type),*) $(-> $answer)? {
            self.kernel.$name($($argument),*)
        }
    )*};
}

/// What changes something, and what a dry run has in its place.
macro_rules! unless_dry {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $answer:ty)? = $dry:expr;)*) => {$(
        #[inline(always)]
        fn $name(&self, $($argument: $type),*) $(-> $answer)? {
            if DRY { $dry } else { self.kernel.$name($($argument),*) }
        }
    )*};
}

impl<const DRY: bool> Tables for Watched<DRY> {
    pass_on! {
        fn seed() -> [u64; 2];
        fn slot_mask(part: Part) -> u32;
        fn answer_mask() -> u32;
        fn slots(part: Part, bucket: u32) -> Option<BucketRef>;
        fn barrier(value: u32) -> u32;
        fn tenant(number: u32) -> Option<FlowRef>;
        fn quic_server(key: &QuicKey) -> Option<u32>;
        fn address(key: &Address) -> Option<u32>;
        fn service(id: u32) -> Option<&Service>;
        fn backend(id: u32) -> Option<&Backend>;
        fn load(load: u32) -> u64;
        fn source(index: u32) -> Option<&Address>;
        fn source_port(place: u32) -> [u8; 2];
        fn port_count() -> u32;
        fn now() -> u64;
        fn random() -> u32;
        fn ingress() -> u32;
        fn ingress_takes(length: u32) -> bool;
        fn affinity(key: &AffinityKey) -> Option<Affinity>;
        fn route(src: &Address, dst: &Address, protocol: u32, hop: &mut Hop) -> Result<(), Reason>;
    }

    unless_dry! {
        fn set_fragmented(key: &FragmentKey, whole: &Fragmented) = { let _ = (key, whole); };
        fn forget_fragmented(key: &FragmentKey) = { let _ = key; };
        fn next_fragment_id() -> u32 = fragment_cursor();
        fn evict(tenant: FlowRef) = { let _ = tenant; };
        fn next_stretch() -> u32 = stretch_cursor();
        fn next_port(load: u32, by: u32) -> u32 = { let _ = by; port_cursor(load) };
        fn exhausted(backend: u32) = { let _ = backend; };
        fn count_out(load: u32) = { let _ = load; };
        fn turn(service: u32) -> u32 = turns(service).wrapping_add(1);
        fn set_affinity(key: &AffinityKey, value: Affinity) = { let _ = (key, value); };
    }

    #[inline(always)]
    fn exchange(&self, word: WordRef, old: u64, new: u64) -> bool {
        let closes = Slot(new).closes(Slot(old), self.kernel.now());
        self.note(|decision| decision.met |= met::CLOSING * closes);
        let establishes = establishes(old, new);
        self.note(|decision| decision.met |= met::PROMOTED * establishes);
        if DRY { word.load() == old } else { self.kernel.exchange(word, old, new) }
    }

    // Which flow an answer leads to says nothing of closing.
    #[inline(always)]
    fn hand_over(&self, word: WordRef, old: u64, new: u64) -> bool {
        if DRY { word.load() == old } else { self.kernel.exchange(word, old, new) }
    }

    #[inline(always)]
    fn count_in(&self, load: u32) -> u64 {
        if DRY { self.kernel.load(load) } else { self.kernel.count_in(load) }
    }

    #[inline(always)]
    fn flow(&self, part: Part, number: u32) -> Option<FlowRef> {
        let looked_at = match part {
            Part::Established => met::FLOW | met::ESTABLISHED,
            Part::Pending => met::FLOW | met::PENDING,
        };
        self.note(|decision| {
            decision.met |= looked_at;
            decision.flow.number = number | (part as u32) << PENDING.trailing_zeros();
        });
        entry::<DRY>(part, number)
    }

    #[inline(always)]
    fn with_desk<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> Option<R> {
        let watched = |scratch: &mut Scratch| {
            let done = work(scratch);
            self.note(|decision| {
                decision.met |= met::PARSED;
                let is_placed = scratch.parsed.kind == Kind::Message
                    && matches!(scratch.parsed.key.protocol, TCP | UDP);
                decision.key = if is_placed { scratch.message } else { scratch.parsed.key };
                decision.flags = scratch.parsed.flags;
                decision.passed = scratch.onward.passed;
            });
            done
        };
        if DRY {
            // SAFETY: this CPU's own, XDP does not nest, and the pipeline lends it once at a time.
            dry::scratch().map(|scratch| watched(unsafe { &mut *scratch }))
        } else {
            self.kernel.with_desk(watched)
        }
    }

    #[inline(always)]
    fn repeat<S: Step<Self>>(&self, times: u32, scratch: &mut Scratch) {
        repeat::<Self, S>(self, times, scratch);
    }

    #[inline(always)]
    fn vip(&self, key: &VipKey) -> Option<Vip> {
        let vip = self.kernel.vip(key)?;
        self.note_vip(vip);
        Some(vip)
    }

    #[inline(always)]
    fn range(&self, key: &RangeKey) -> Option<Vip> {
        let vip = self.kernel.range(key)?;
        self.note_vip(vip);
        Some(vip)
    }

    #[inline(always)]
    fn answers(&self, bucket: u32) -> Option<BucketRef> {
        self.note(|decision| decision.met |= met::ANSWERS);
        self.kernel.answers(bucket)
    }

    #[inline(always)]
    fn current_ring(&self, service: u32) -> Option<Ring> {
        let ring = self.kernel.current_ring(service)?;
        self.note(|decision| decision.ring = ring);
        Some(ring)
    }

    #[inline(always)]
    fn ring(&self, slot: u32) -> Option<u32> {
        self.note(|decision| {
            decision.met |= met::RING;
            decision.slot = slot;
        });
        self.kernel.ring(slot)
    }

    #[inline(always)]
    fn reach(&self, backend: u32) -> Option<ReachRef> {
        if !DRY {
            return self.kernel.reach(backend);
        }
        // SAFETY: a map's memory outlives every packet.
        dry::reach(backend).map(|copy| unsafe { ReachRef::new(copy) })
    }

    #[inline(always)]
    fn fragmented(&self, key: &FragmentKey) -> Option<FragmentedRef> {
        if !DRY {
            return self.kernel.fragmented(key);
        }
        // SAFETY: a map's memory outlives every packet.
        dry::fragmented(key).map(|copy| unsafe { FragmentedRef::new(copy) })
    }

    #[inline(always)]
    fn opened(&self, backend: u32) {
        self.note(|decision| {
            decision.met |= met::OPENED;
            decision.backend = backend;
        });
        if !DRY {
            self.kernel.opened(backend);
        }
    }

    #[inline(always)]
    fn count(&self, counter: u32) {
        if counter == counter::EVICTED || counter == counter::EVICTED_PENDING {
            self.note(|decision| decision.met |= met::EVICTED);
        }
        if counter == counter::REVIVED {
            self.note(|decision| decision.met |= met::REVIVED);
        }
        if !DRY {
            self.kernel.count(counter);
        }
    }
}

impl<const DRY: bool> Sources for Watched<DRY> {
    pass_on! {
        fn access(key: &ListKey) -> u32;
        fn meter(service: u32) -> Option<MeterRef>;
        fn due(key: &SourceKey) -> Option<WordRef>;
        fn known(source: &Address) -> Option<WordRef>;
    }

    unless_dry! {
        fn add_source(key: &SourceKey, due: u64) = { let _ = (key, due); };
        fn add_known(source: &Address, at: u64) = { let _ = (source, at); };
        fn add(word: WordRef, by: u64) -> u64 = { let _ = by; word.load() };
    }
}
