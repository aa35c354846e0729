//! `sk_lookup`: any announced address and port with handlers, one group of listeners.

use aya_ebpf::{bindings::sk_action, programs::SkLookupContext};
use lb_common::abi::{Address, VipKey, path};

use crate::maps::{LISTENERS, vip};

const AF_INET: u32 = 2;

#[inline(always)]
pub fn to_proxy(ctx: &SkLookupContext) -> u32 {
    // SAFETY: the context is the kernel's own.
    let lookup = unsafe { &*ctx.lookup };
    let address = if lookup.family == AF_INET {
        Address::v4(lookup.local_ip4.to_ne_bytes())
    } else {
        let [a, b, c, d] = lookup.local_ip6.map(u32::to_ne_bytes);
        Address([
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1],
            d[2], d[3],
        ])
    };
    let key = VipKey {
        address,
        // Host byte order, as the kernel documents it.
        port: (lookup.local_port as u16).to_be_bytes(),
        protocol: lookup.protocol as u8,
        pad: [0; 5],
    };
    if vip(&key).is_some_and(|vip| vip.path == path::PROXY) {
        // No listener yet, or none any more: the client gets the kernel's RST.
        let _ = LISTENERS.redirect_sk_lookup(ctx, 0, 0);
    }
    sk_action::SK_PASS
}
