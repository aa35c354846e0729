//! `sk_lookup`: any announced address and port with handlers, one group of listeners.

use aya_ebpf::{bindings::sk_action, programs::SkLookupContext};
use lb_common::abi::{Address, RangeKey, Vip, VipKey, address_flags, path};

use crate::maps::{self, LISTENERS};

const AF_INET: u32 = 2;

#[inline(always)]
pub fn to_proxy(ctx: &SkLookupContext) -> u32 {
    // SAFETY: the context is the kernel's own.
    let lookup = unsafe { &*ctx.lookup };
    let address = if lookup.family == AF_INET {
        Address::v4(lookup.local_ip4.to_ne_bytes())
    } else {
        // Word by word, as the verifier wants a context read; volatile keeps them apart.
        // SAFETY: within the context.
        let word = |i: usize| unsafe { (&raw const lookup.local_ip6[i]).read_volatile() };
        let [low, high] = [word(0), word(2)].map(u64::from);
        let [low, high] = [low | u64::from(word(1)) << 32, high | u64::from(word(3)) << 32];
        Address::v6((u128::from(high) << 64 | u128::from(low)).to_ne_bytes())
    };
    // The port is in host byte order, as the kernel documents it.
    let port = (lookup.local_port as u16).to_be_bytes();
    let key = VipKey::new(address, port, lookup.protocol);
    if declared(&key).is_some_and(|vip| vip.path == path::PROXY) {
        // No listener yet, or none any more: the client gets the kernel's RST.
        let _ = LISTENERS.redirect_sk_lookup(ctx, 0, 0);
    }
    sk_action::SK_PASS
}

/// By its own entry, or by a range if the address has any.
#[inline(always)]
fn declared(key: &VipKey) -> Option<Vip> {
    if let Some(vip) = maps::vip(key) {
        return Some(vip);
    }
    if maps::address(&key.address)? & address_flags::RANGES == 0 {
        return None;
    }
    maps::range(&RangeKey::exact(key))
}
