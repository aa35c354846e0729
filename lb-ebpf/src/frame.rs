//! The frame at hand as lb-common sees it.

use aya_ebpf::{
    helpers::{bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::packet::Packet;

/// What `bpf_csum_diff` sums at a time: MAX_BPF_STACK in include/linux/filter.h.
const SUMMED: usize = 512;

pub struct Frame(XdpContext);

impl Frame {
    #[inline(always)]
    pub const fn new(ctx: XdpContext) -> Self {
        Self(ctx)
    }
}

// SAFETY: data and data_end bound the frame, and the kernel gives it to one program at a time. It
// starts at an even address: drivers reserve XDP_PACKET_HEADROOM (256), and we move it by 4 or 8.
unsafe impl Packet for Frame {
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        (self.0.data(), self.0.data_end())
    }

    #[inline(always)]
    fn anchor(&self) {
        // SAFETY: the context is the kernel's own.
        unsafe { (&raw const (*self.0.ctx).data).read_volatile() };
    }

    #[inline(always)]
    fn sum<const LENGTH: usize>(&self, offset: usize) -> Option<u64> {
        let (mut seed, mut done) = (0, 0);
        // Unrolled: the helper wants lengths that the verifier knows.
        while done < LENGTH {
            let rest = LENGTH - done;
            let length = if rest < SUMMED { rest } else { SUMMED };
            let (start, end) = self.bounds();
            if start + offset + done + length > end {
                return None;
            }
            let first = (start + offset + done) as *mut u32;
            // SAFETY: in bounds, as just checked, and the helper only reads.
            let sum =
                unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, first, length as u32, seed) };
            seed = sum as u32;
            done += length;
        }
        Some(u64::from(seed))
    }

    #[inline(always)]
    fn adjust_head(&mut self, by: i32) -> bool {
        // SAFETY: the context is the kernel's own.
        unsafe { bpf_xdp_adjust_head(self.0.ctx, by) == 0 }
    }

    #[inline(always)]
    fn adjust_tail(&mut self, by: i32) -> bool {
        // SAFETY: the context is the kernel's own.
        unsafe { bpf_xdp_adjust_tail(self.0.ctx, by) == 0 }
    }
}
