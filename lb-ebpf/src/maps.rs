//! Every map, and the packet path's view of them. Sizes here are floors for a bare load; the
//! daemon sets the real ones.

use core::{
    intrinsics::{AtomicOrdering, atomic_or, atomic_xadd},
    mem::size_of,
};

use aya_ebpf::{
    bindings::{
        BPF_F_MMAPABLE, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, BPF_NOEXIST,
        bpf_fib_lookup as FibLookup, xdp_md,
    },
    helpers::{bpf_fib_lookup, bpf_ktime_get_coarse_ns},
    macros::map,
    maps::{Array, HashMap, PerCpuArray, SockMap},
};
use lb_common::{
    abi::{
        ABI_VERSION as ABI, Address, Backend, CachedHop, Flow, FlowKey, Hop, Service, Vip, VipKey,
        VlanDevice, counter,
    },
    tables::{Draft, FlowRef, Refused, Tables},
    verdict::Reason,
};

#[map]
static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(1024, 0);
#[map]
static VIPS: HashMap<VipKey, Vip> = HashMap::with_max_entries(1024, 0);
#[map]
static ADDRESSES: HashMap<Address, u32> = HashMap::with_max_entries(1024, 0);
#[map]
static SERVICES: Array<Service> = Array::with_max_entries(1024, 0);
#[map]
static RINGS: Array<u32> = Array::with_max_entries(1024, 0);
#[map]
static BACKENDS: Array<Backend> = Array::with_max_entries(1024, 0);
#[map]
static HOPS: Array<CachedHop> = Array::with_max_entries(1024, 0);
#[map]
static LOAD: Array<u64> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static PORTS: Array<u32> = Array::with_max_entries(1024, 0);
#[map]
static OPENED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1024, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::LENGTH, 0);
#[map]
static FIB: PerCpuArray<FibLookup> = PerCpuArray::with_max_entries(1, 0);
#[map]
static DRAFT: PerCpuArray<Draft> = PerCpuArray::with_max_entries(1, 0);
#[map]
static VLANS: HashMap<u32, VlanDevice> = HashMap::with_max_entries(256, 0);
#[map]
pub static LISTENERS: SockMap = SockMap::with_max_entries(1, 0);

// Constants to the verifier once loaded; the loader may set the source ports before.
#[unsafe(no_mangle)]
static ABI_VERSION: u32 = ABI;
#[unsafe(no_mangle)]
static SOURCE_PORT_FIRST: u32 = 2048;
#[unsafe(no_mangle)]
static SOURCE_PORT_COUNT: u32 = 30720;

macro_rules! global {
    ($name:ident) => {
        // SAFETY: a live static; volatile, since the loader writes it behind the compiler's back.
        unsafe { (&raw const $name).read_volatile() }
    };
}

// Atomics whose result is used are SeqCst: relaxed ones become BPF's form without a result, and
// what comes back is the operand.

const EEXIST: i32 = -17;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

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
    fn flow(&self, key: &FlowKey) -> Option<FlowRef> {
        // SAFETY: the kernel keeps an entry's memory until the program has run.
        FLOWS.get_ptr_mut(key).map(|entry| unsafe { FlowRef::new(entry) })
    }

    #[inline(always)]
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused> {
        match FLOWS.insert(key, flow, BPF_NOEXIST as u64) {
            Ok(()) => Ok(()),
            Err(EEXIST) => Err(Refused::Taken),
            Err(_) => Err(Refused::Full),
        }
    }

    #[inline(always)]
    fn remove_flow(&self, key: &FlowKey) {
        // An entry that another CPU removed first is gone all the same.
        let _ = FLOWS.remove(key);
    }

    #[inline(always)]
    fn mark(&self, flow: FlowRef, bits: u32) -> u32 {
        // SAFETY: the entry lives, as FlowRef was promised.
        unsafe {
            let state = &raw mut (*flow.as_ptr()).state;
            atomic_or::<u32, u32, { AtomicOrdering::SeqCst }>(state, bits)
        }
    }

    #[inline(always)]
    fn vip(&self, key: &VipKey) -> Option<Vip> {
        vip(key)
    }

    #[inline(always)]
    fn owns(&self, address: &Address) -> bool {
        ADDRESSES.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn service(&self, id: u32) -> Option<Service> {
        // SAFETY: one aligned word, read once: a ring's offset and length never come apart.
        SERVICES.get_ptr(id).map(|service| unsafe { service.read_volatile() })
    }

    #[inline(always)]
    fn ring(&self, slot: u32) -> Option<u32> {
        RINGS.get(slot).copied()
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<Backend> {
        BACKENDS.get(id).copied()
    }

    #[inline(always)]
    fn hop(&self, backend: u32) -> Option<CachedHop> {
        HOPS.get(backend).copied()
    }

    #[inline(always)]
    fn save_hop(&self, backend: u32, hop: &CachedHop) {
        if let Some(place) = HOPS.get_ptr_mut(backend) {
            // SAFETY: in bounds; CPUs that race here write what routing told both.
            unsafe { place.write(*hop) };
        }
    }

    #[inline(always)]
    fn next_port(&self, load: u32) -> [u8; 2] {
        let turn = match PORTS.get_ptr_mut(load) {
            // SAFETY: in bounds of the map.
            Some(cursor) => unsafe {
                atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(cursor, 1)
            },
            None => 0,
        };
        // A count of 0 would be a panic, which the kernel has none of.
        let port =
            global!(SOURCE_PORT_FIRST) + turn.checked_rem(global!(SOURCE_PORT_COUNT)).unwrap_or(0);
        (port as u16).to_be_bytes()
    }

    #[inline(always)]
    fn count_in(&self, load: u32) {
        add_load(load, 1);
    }

    #[inline(always)]
    fn count_out(&self, load: u32) {
        add_load(load, u64::MAX);
    }

    #[inline(always)]
    fn opened(&self, backend: u32) {
        if let Some(counter) = OPENED.get_ptr_mut(backend) {
            // SAFETY: a slot of this CPU's own, and XDP does not nest.
            unsafe { *counter += 1 };
        }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: no arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        // SAFETY: the context is the kernel's own.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn with_draft<R>(&self, work: impl FnOnce(&mut Draft) -> R) -> Option<R> {
        // SAFETY: this CPU's own, XDP does not nest, and the pipeline lends it once at a time.
        DRAFT.get_ptr_mut(0).map(|draft| work(unsafe { &mut *draft }))
    }

    #[inline(always)]
    fn drafted(&self) -> Option<FlowRef> {
        // SAFETY: as above; a map's memory outlives every packet.
        DRAFT.get_ptr_mut(0).map(|draft| unsafe { FlowRef::new(&raw mut (*draft).flow) })
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
fn add_load(slot: u32, by: u64) {
    if let Some(word) = LOAD.get_ptr_mut(slot) {
        // SAFETY: in bounds; the proxy changes the same word with atomics.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, by) };
    }
}

/// A function of its own: it takes values only, so it need not be inlined.
#[inline(never)]
fn route(
    ctx: *mut xdp_md,
    src: &Address,
    dst: &Address,
    protocol: u32,
    hop: &mut Hop,
) -> Result<(), Reason> {
    // Not on the stack, where the verifier wants every access aligned: `dmac` stands at 58.
    let Some(fib) = FIB.get_ptr_mut(0) else { return Err(Reason::Inconsistent) };
    // SAFETY: this CPU's own, XDP does not nest, and all zero is a value of this C structure.
    let fib = unsafe {
        fib.write_bytes(0, 1);
        &mut *fib
    };
    fib.l4_protocol = protocol as u8;
    // SAFETY: the context is the kernel's own.
    fib.ifindex = unsafe { (*ctx).ingress_ifindex };
    if src.is_v4() {
        fib.family = AF_INET;
        fib.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(src.low());
        fib.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(dst.low());
    } else {
        fib.family = AF_INET6;
        fib.__bindgen_anon_3.ipv6_src = words(*src);
        fib.__bindgen_anon_4.ipv6_dst = words(*dst);
    }
    let size = size_of::<FibLookup>() as i32;
    // SAFETY: the context is the kernel's own, and `fib` is as long as said.
    match unsafe { bpf_fib_lookup(ctx.cast(), fib, size, 0) } as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => {
            *hop = through(fib);
            Ok(())
        }
        BPF_FIB_LKUP_RET_NO_NEIGH => Err(Reason::NoNeighbour),
        _ => Err(Reason::NoRoute),
    }
}

/// Routing names VLAN devices, which XDP cannot send to: their parent and a tag instead.
#[inline(always)]
fn through(fib: &FibLookup) -> Hop {
    let (mut ifindex, mut vlan) = (fib.ifindex, 0);
    // SAFETY: the daemon replaces entries whole; a device's parent and tag do not change.
    if let Some(device) = unsafe { VLANS.get(ifindex) } {
        (ifindex, vlan) = (device.parent, device.vlan);
    }
    Hop::new(fib.dmac, fib.smac, ifindex, vlan)
}

#[inline(always)]
const fn words(address: Address) -> [u32; 4] {
    let [a, b] = address.words();
    [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]
}
