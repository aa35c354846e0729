//! Steps again and again, by the kernel's own loop.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use lb_common::{parsed::Scratch, tables::Step};

/// `Tables::repeat` by the kernel's own loop, in which the step is a function that is called back.
#[inline(always)]
pub fn repeat<T, S: Step<T>>(tables: &T, times: u32, scratch: &mut Scratch) {
    let mut round = Round::<T> { tables, scratch };
    let step: unsafe extern "C" fn(u64, *mut Round<T>) -> i64 = step::<T, S>;
    // SAFETY: the kernel calls it before this returns, with what lies on the stack here.
    unsafe { bpf_loop(times, step as *mut c_void, (&raw mut round).cast(), 0) };
}

struct Round<T> {
    tables: *const T,
    scratch: *mut Scratch,
}

/// 1: that will do.
///
/// # Safety
///
/// The pointers are those of [`repeat`].
unsafe extern "C" fn step<T, S: Step<T>>(number: u64, round: *mut Round<T>) -> i64 {
    // SAFETY: nobody else uses them while `repeat` waits.
    let (tables, scratch) = unsafe { (&*(*round).tables, &mut *(*round).scratch) };
    if S::take(tables, scratch, number as u32) { 0 } else { 1 }
}
