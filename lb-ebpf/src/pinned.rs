//! [`chance`](crate) for `cargo xtask fuzz`, in its object alone: the time and the random numbers
//! that the fuzzer gives to the model as well.

use aya_ebpf::{macros::map, maps::Array};
use lb_common::prng::{STEP, scramble};

#[repr(C)]
pub struct Pinned {
    now: u64,
    random: u64,
}

#[map]
static PINNED: Array<Pinned> = Array::with_max_entries(1, 0);

#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: one aligned word, which the fuzzer writes between packets.
    PINNED.get_ptr(0).map_or(0, |pinned| unsafe { (&raw const (*pinned).now).read_volatile() })
}

#[inline(always)]
pub fn random() -> u32 {
    let Some(pinned) = PINNED.get_ptr_mut(0) else { return 0 };
    // SAFETY: one TEST_RUN at a time uses the object.
    let state = unsafe {
        let place = &raw mut (*pinned).random;
        let state = place.read_volatile();
        place.write_volatile(state.wrapping_add(STEP));
        state
    };
    (scramble(state) >> 32) as u32
}
