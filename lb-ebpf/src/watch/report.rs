//! Which decisions a trace wants, and how they get to the daemon.

use aya_ebpf::{
    helpers::bpf_get_prandom_u32,
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use lb_common::abi::{Address, Decision, TraceFilter, met};

use super::watched::WATCHED;

#[map]
static TRACE_FILTER: Array<TraceFilter> = Array::with_max_entries(1, 0);
#[map]
static TRACE_EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
/// Events that found no room.
#[map]
static TRACE_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Tells the daemon of a traced packet, if it is one that it asked for.
#[inline(never)]
pub fn report() {
    let Some(decision) = WATCHED.get(0) else { return };
    let Some(filter) = TRACE_FILTER.get(0) else { return };
    if filter.sample > 1 {
        // SAFETY: no arguments.
        let random = unsafe { bpf_get_prandom_u32() };
        if random.checked_rem(filter.sample).unwrap_or(0) != 0 {
            return;
        }
    }
    if !is_wanted(decision, filter) {
        return;
    }
    if TRACE_EVENTS.output::<Decision>(decision, 0).is_err()
        && let Some(lost) = TRACE_LOST.get_ptr_mut(0)
    {
        // SAFETY: this CPU's own, and XDP does not nest.
        unsafe { *lost += 1 };
    }
}

/// By the flow where there is one: it tells both sides. A packet that is of none has one backend,
/// or does not get to any.
#[inline(always)]
fn is_wanted(decision: &Decision, filter: &TraceFilter) -> bool {
    let any = Address::default();
    let (flow, key) = (&decision.flow, &decision.key);
    let has_flow = decision.met & met::FLOW != 0;
    let read = decision.met & met::PARSED != 0;
    let (client, vip, vip_port, protocol) = if has_flow && !read {
        (flow.client, flow.vip, flow.vip_port, flow.protocol)
    } else {
        (key.src, key.dst, key.dst_port, key.protocol)
    };
    if filter.protocol != 0 && filter.protocol != protocol {
        return false;
    }
    let ([a, b], [c, d]) = (client.words(), filter.client.words());
    let [e, f] = filter.client_mask.words();
    if ((a ^ c) & e) | ((b ^ d) & f) != 0 {
        return false;
    }
    if filter.vip != any && filter.vip != vip
        || filter.vip_port != [0; 2] && filter.vip_port != vip_port
    {
        return false;
    }
    if filter.backend == any {
        return true;
    }
    has_flow
        && flow.backend_address == filter.backend
        && (filter.backend_port == [0; 2] || flow.server_port() == filter.backend_port)
}
