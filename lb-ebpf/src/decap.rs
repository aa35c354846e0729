//! The object for backends: `lb decap` loads it. The logic is lb-common's `decap`.

#![no_std]
#![no_main]

mod frame;

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    programs::XdpContext,
};
use frame::Frame;
use lb_common::{
    abi::{Address, GUE_PORT as USUAL_PORT},
    decap::{LocalHost, Outcome, strip},
};

#[map]
static LOCAL: HashMap<Address, u32> = HashMap::with_max_entries(4096, 0);
/// `BPF_F_NO_PREALLOC`, which the kernel wants of tries.
#[map]
static FROM: LpmTrie<Address, u32> = LpmTrie::with_max_entries(4096, 1);
#[map]
static OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Outcome::ALL.len() as u32, 0);

/// Constant to the verifier once loaded; the loader sets it before.
#[unsafe(no_mangle)]
static GUE_PORT: u32 = USUAL_PORT as u32;

#[xdp]
pub fn lb_decap(ctx: XdpContext) -> u32 {
    let outcome = strip(&mut Frame::new(ctx), &Host);
    if let Some(counter) = OUTCOMES.get_ptr_mut(outcome as u32) {
        // SAFETY: a slot of this CPU's own, and XDP does not nest.
        unsafe { *counter += 1 };
    }
    if let Outcome::Congested = outcome { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

struct Host;

impl LocalHost for Host {
    #[inline(always)]
    fn is_local(&self, address: &Address) -> bool {
        LOCAL.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn admits(&self, address: &Address) -> bool {
        FROM.get(Key::new(128, *address)).is_some()
    }

    #[inline(always)]
    fn gue_port(&self) -> [u8; 2] {
        // SAFETY: a live static; volatile, since the loader writes it behind the compiler's back.
        let port = unsafe { (&raw const GUE_PORT).read_volatile() };
        (port as u16).to_be_bytes()
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Helpers such as `bpf_csum_diff` are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
