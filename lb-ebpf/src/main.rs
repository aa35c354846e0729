//! Entry points of the kernel object. The packet's way is lb-common's `pipeline::balance`.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![allow(internal_features)]

#[cfg(feature = "bench")]
mod bench;
mod cursors;
mod declared;
mod frame;
mod maps;
#[cfg_attr(feature = "fuzz", path = "pinned.rs")]
mod prng;
mod repeat;
mod route;
mod sk_lookup;
mod sources;
mod watch;

use aya_ebpf::{
    bindings::xdp_action,
    helpers::bpf_redirect,
    macros::{sk_lookup, xdp},
    programs::{SkLookupContext, XdpContext},
};
use frame::Frame;
use lb_common::{abi::counter, pipeline::balance, verdict::Verdict};
use maps::Kernel;
use watch::Watched;

#[xdp]
pub fn lb_xdp(ctx: XdpContext) -> u32 {
    let kernel = Kernel::new(ctx.ctx);
    let ingress = ctx.ingress_ifindex() as u32;
    let verdict = balance(&mut Frame::new(ctx), &kernel);
    #[cfg(feature = "log")]
    log(&kernel, verdict);
    act(verdict, ingress)
}

/// The same with nothing but a decision as its effect: whatever lives stays as it is.
#[xdp]
pub fn lb_explain(ctx: XdpContext) -> u32 {
    let Some(watched) = Watched::<true>::begin(&ctx) else { return xdp_action::XDP_ABORTED };
    let verdict = balance(&mut Frame::new(ctx), &watched);
    watched.end(verdict);
    xdp_action::XDP_PASS
}

/// The same, which tells the daemon what it does. In place of [`lb_xdp`] while somebody wants to
/// know.
#[xdp]
pub fn lb_trace(ctx: XdpContext) -> u32 {
    let Some(watched) = Watched::<false>::begin(&ctx) else { return xdp_action::XDP_ABORTED };
    let ingress = ctx.ingress_ifindex() as u32;
    let verdict = balance(&mut Frame::new(ctx), &watched);
    watched.end(verdict);
    watch::report();
    act(verdict, ingress)
}

/// Counts a verdict and makes it the kernel's.
#[inline(always)]
fn act(verdict: Verdict, ingress: u32) -> u32 {
    let (slot, action) = match verdict {
        Verdict::Pass => (counter::PASS, xdp_action::XDP_PASS),
        Verdict::Proxy => (counter::PROXY, xdp_action::XDP_PASS),
        Verdict::Steer { ifindex, .. } if ifindex == ingress => {
            (counter::STEER, xdp_action::XDP_TX)
        }
        // SAFETY: the helper takes plain values.
        Verdict::Steer { ifindex, .. } => {
            (counter::STEER, unsafe { bpf_redirect(ifindex, 0) } as u32)
        }
        Verdict::Reply => (counter::REPLY, xdp_action::XDP_TX),
        Verdict::Answer(reason) => (counter::drop(reason), xdp_action::XDP_TX),
        Verdict::Drop(reason) => (counter::drop(reason), xdp_action::XDP_DROP),
    };
    maps::count(slot);
    action
}

/// Gives connections to ports with handlers to the proxy's listeners.
#[sk_lookup]
pub fn lb_sk_lookup(ctx: SkLookupContext) -> u32 {
    sk_lookup::to_proxy(&ctx)
}

#[cfg(feature = "log")]
fn log(kernel: &Kernel, verdict: Verdict) {
    if let Verdict::Drop(reason) = verdict {
        aya_log_ebpf::debug!(kernel, "dropped: {}", reason.name());
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Helpers such as `bpf_fib_lookup` are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
