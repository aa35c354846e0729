//! Copies for a packet that must change nothing: what the path would write goes into them.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use lb_common::{
    abi::{Flow, FragmentKey, Fragmented, Reach},
    arrival::Desk,
    tables::Part,
};

/// What an explained packet works on in place of the live entries: one of each part.
#[map]
static DRY_FLOWS: PerCpuArray<DryFlow> = PerCpuArray::with_max_entries(2, 0);
#[map]
static DRY_REACH: PerCpuArray<DryReach> = PerCpuArray::with_max_entries(1, 0);
#[map]
static DRY_FRAGMENTED: PerCpuArray<Fragmented> = PerCpuArray::with_max_entries(1, 0);
#[map]
static DRY_DESK: PerCpuArray<Desk> = PerCpuArray::with_max_entries(1, 0);

#[repr(C)]
struct DryFlow {
    /// The number of the entry that `flow` was copied from, and one; 0: of none.
    of: u32,
    pad: u32,
    flow: Flow,
}

#[repr(C)]
struct DryReach {
    /// As above, of a backend.
    of: u32,
    pad: u32,
    reach: Reach,
}

#[inline(always)]
pub fn forget_copies() {
    for part in 0..2 {
        if let Some(dry) = DRY_FLOWS.get_ptr_mut(part) {
            // SAFETY: as above.
            unsafe { (*dry).of = 0 };
        }
    }
    if let Some(dry) = DRY_REACH.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { (*dry).of = 0 };
    }
}

/// Where slow paths work on it.
#[inline(always)]
pub fn desk() -> Option<*mut Desk> {
    DRY_DESK.get_ptr_mut(0)
}

/// A whole flow. Its fields may be of two writings where it changes just now: nothing but what
/// people see depends on it.
#[inline(always)]
pub fn copy_flow(from: *const u64, to: *mut u64) {
    for word in 0..size_of::<Flow>() / size_of::<u64>() {
        // SAFETY: both callers pass whole flows; volatile, or it becomes a call of memcpy.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}

/// The copy of an entry that this packet may write to; null: there is no such entry. A second
/// entry of the same part takes the first one's place: the path never works on both.
#[inline(never)]
pub fn flow(part: Part, number: u32) -> *mut Flow {
    let Some(live) = crate::maps::flow(part, number) else { return core::ptr::null_mut() };
    let Some(dry) = DRY_FLOWS.get_ptr_mut(part as u32) else { return core::ptr::null_mut() };
    // SAFETY: this CPU's own, and XDP does not nest.
    let dry = unsafe { &mut *dry };
    if dry.of != number.wrapping_add(1) {
        dry.of = number.wrapping_add(1);
        copy_flow(live.as_ptr().cast_const().cast(), (&raw mut dry.flow).cast());
    }
    &raw mut dry.flow
}

#[inline(never)]
pub fn reach(backend: u32) -> *mut Reach {
    let Some(live) = crate::maps::reach(backend) else { return core::ptr::null_mut() };
    let Some(dry) = DRY_REACH.get_ptr_mut(0) else { return core::ptr::null_mut() };
    // SAFETY: this CPU's own, and XDP does not nest.
    let dry = unsafe { &mut *dry };
    if dry.of != backend.wrapping_add(1) {
        dry.of = backend.wrapping_add(1);
        let (from, to) = (live.cast_const().cast::<u64>(), (&raw mut dry.reach).cast::<u64>());
        for word in 0..size_of::<Reach>() / size_of::<u64>() {
            // SAFETY: two whole Reaches.
            unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
        }
    }
    &raw mut dry.reach
}

#[inline(never)]
pub fn fragmented(key: &FragmentKey) -> *mut Fragmented {
    let Some(live) = crate::maps::fragmented(key) else { return core::ptr::null_mut() };
    let Some(dry) = DRY_FRAGMENTED.get_ptr_mut(0) else { return core::ptr::null_mut() };
    let (from, to) = (live.cast_const().cast::<u64>(), dry.cast::<u64>());
    for word in 0..size_of::<Fragmented>() / size_of::<u64>() {
        // SAFETY: two whole ones.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
    dry
}
