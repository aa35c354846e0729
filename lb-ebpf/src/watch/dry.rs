//! Copies for a packet that must change nothing: what the path would write goes into them.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use lb_common::{
    abi::{Flow, FragmentKey, Fragmented, Reach},
    parsed::Scratch,
    tables::Part,
};

/// What an explained packet works on in place of the live entries: one of each part.
#[map]
static DRY_FLOWS: PerCpuArray<DryFlow> = PerCpuArray::with_max_entries(2, 0);
#[map]
static DRY_REACH: PerCpuArray<DryReach> = PerCpuArray::with_max_entries(1, 0);
#[map]
static DRY_FRAGMENTED: PerCpuArray<DryFragmented> = PerCpuArray::with_max_entries(1, 0);
#[map]
static DRY_DESK: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

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

#[repr(C)]
struct DryFragmented {
    /// Whether there is one: 1, or 0.
    of: u32,
    pad: u32,
    whole: Fragmented,
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
pub fn scratch() -> Option<*mut Scratch> {
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

// Each copy is made by a function that answers nothing, and looked for by its caller: of an address
// that a function returns, the verifier of 6.1 would search its whole past for why it is null.

/// The copy of an entry that this packet may write to. A second entry of the same part takes the
/// first one's place: the path never works on both.
#[inline(always)]
pub fn flow(part: Part, number: u32) -> Option<*mut Flow> {
    copy_entry(part, number);
    let dry = DRY_FLOWS.get_ptr_mut(part as u32)?;
    // SAFETY: this CPU's own, and XDP does not nest.
    let dry = unsafe { &mut *dry };
    if dry.of == number.wrapping_add(1) { Some(&raw mut dry.flow) } else { None }
}

#[inline(never)]
fn copy_entry(part: Part, number: u32) {
    let Some(live) = crate::maps::flow(part, number) else { return };
    let Some(dry) = DRY_FLOWS.get_ptr_mut(part as u32) else { return };
    // SAFETY: as above.
    let dry = unsafe { &mut *dry };
    if dry.of != number.wrapping_add(1) {
        dry.of = number.wrapping_add(1);
        copy_flow(live.as_ptr().cast_const().cast(), (&raw mut dry.flow).cast());
    }
}

#[inline(always)]
pub fn reach(backend: u32) -> Option<*mut Reach> {
    copy_reach(backend);
    let dry = DRY_REACH.get_ptr_mut(0)?;
    // SAFETY: as above.
    let dry = unsafe { &mut *dry };
    if dry.of == backend.wrapping_add(1) { Some(&raw mut dry.reach) } else { None }
}

#[inline(never)]
fn copy_reach(backend: u32) {
    let Some(live) = crate::maps::reach(backend) else { return };
    let Some(dry) = DRY_REACH.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    let dry = unsafe { &mut *dry };
    if dry.of != backend.wrapping_add(1) {
        dry.of = backend.wrapping_add(1);
        let (from, to) = (live.cast_const().cast::<u64>(), (&raw mut dry.reach).cast::<u64>());
        for word in 0..size_of::<Reach>() / size_of::<u64>() {
            // SAFETY: two whole Reaches.
            unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
        }
    }
}

#[inline(always)]
pub fn fragmented(key: &FragmentKey) -> Option<*mut Fragmented> {
    copy_fragmented(key);
    let dry = DRY_FRAGMENTED.get_ptr_mut(0)?;
    // SAFETY: as above.
    let dry = unsafe { &mut *dry };
    if dry.of == 0 { None } else { Some(&raw mut dry.whole) }
}

#[inline(never)]
fn copy_fragmented(key: &FragmentKey) {
    let Some(dry) = DRY_FRAGMENTED.get_ptr_mut(0) else { return };
    // SAFETY: as above.
    let dry = unsafe { &mut *dry };
    dry.of = 0;
    let Some(live) = crate::maps::fragmented(key) else { return };
    dry.of = 1;
    let (from, to) = (live.cast_const().cast::<u64>(), (&raw mut dry.whole).cast::<u64>());
    for word in 0..size_of::<Fragmented>() / size_of::<u64>() {
        // SAFETY: two whole ones.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}
