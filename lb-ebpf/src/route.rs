//! The host's routing, asked by `bpf_fib_lookup`.

use core::mem::size_of;

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup as FibLookup, xdp_md,
    },
    helpers::bpf_fib_lookup,
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use lb_common::{
    abi::{Address, Hop, VlanDevice},
    tables::NEIGHBOUR,
    verdict::Reason,
};

#[map]
static FIB: PerCpuArray<FibLookup> = PerCpuArray::with_max_entries(1, 0);
#[map]
static VLANS: HashMap<u32, VlanDevice> = HashMap::with_max_entries(256, 0);

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A function of its own: it takes values only, so it need not be inlined.
#[inline(never)]
pub fn route(
    ctx: *mut xdp_md,
    src: &Address,
    dst: &Address,
    protocol: u32,
    hop: &mut Hop,
) -> Result<(), Reason> {
    // Not on the stack, where the verifier wants every access aligned: `dmac` stands at 58.
    let Some(fib) = FIB.get_ptr_mut(0) else { return Err(Reason::Inconsistent) };
    // SAFETY: this CPU's own, XDP does not nest, and all zero is a value of this C structure. By
    // words, each volatile: a call of memset goes byte by byte.
    let fib = unsafe {
        for word in 0..size_of::<FibLookup>() / size_of::<u64>() {
            fib.cast::<u64>().add(word).write_volatile(0);
        }
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
        BPF_FIB_LKUP_RET_SUCCESS if protocol & NEIGHBOUR != 0 && !is_next_hop(fib, dst) => {
            Err(Reason::NoRoute)
        }
        BPF_FIB_LKUP_RET_SUCCESS => {
            *hop = through(fib);
            Ok(())
        }
        BPF_FIB_LKUP_RET_NO_NEIGH => Err(Reason::NoNeighbour),
        _ => Err(Reason::NoRoute),
    }
}

/// Whether no router is in between: the kernel leaves its address there otherwise.
#[inline(always)]
fn is_next_hop(fib: &FibLookup, dst: &Address) -> bool {
    // SAFETY: the kernel says by the family which of both it is.
    unsafe {
        match fib.family {
            AF_INET => {
                dst.is_v4() && fib.__bindgen_anon_4.ipv4_dst == u32::from_ne_bytes(dst.low())
            }
            _ => !dst.is_v4() && fib.__bindgen_anon_4.ipv6_dst == words(*dst),
        }
    }
}

/// Routing names VLAN devices, which XDP cannot send to: their parent and tags instead.
#[inline(always)]
fn through(fib: &FibLookup) -> Hop {
    let (mut ifindex, mut vlan, mut inner) = (fib.ifindex, 0, 0);
    // SAFETY: the daemon replaces entries whole; a device's parent and tag do not change.
    if let Some(device) = unsafe { VLANS.get(ifindex) } {
        (ifindex, vlan, inner) = (device.parent, device.vlan, device.inner_vlan);
    }
    let mut hop = Hop::new(fib.dmac, fib.smac, ifindex, vlan);
    hop.inner_vlan = inner;
    // SAFETY: on success the kernel leaves the route's MTU there, bpf_fib_set_fwd_params() in
    // net/core/filter.c.
    hop.mtu = u32::from(unsafe { fib.__bindgen_anon_1.mtu_result });
    hop
}

#[inline(always)]
const fn words(address: Address) -> [u32; 4] {
    let [a, b] = address.words();
    [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]
}
