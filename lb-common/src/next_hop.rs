//! Next hops: looked up by the host's routing, then kept for a second, so that a known flow's
//! packet costs no route lookup and a change of route or neighbour is followed all the same.

use crate::{
    abi::CachedHop,
    tables::{Draft, FlowRef, Tables},
    verdict::Reason,
};

/// ns for which a hop is used without asking again.
const FRESH: u64 = 1_000_000_000;

/// Sees to it that a known flow's entry has a hop that may be used.
#[inline(always)]
pub fn of_flow<T: Tables>(
    tables: &T,
    flow: FlowRef,
    protocol: u32,
    now: u64,
) -> Result<(), Reason> {
    if now.wrapping_sub(flow.hop_at()) < FRESH {
        Ok(())
    } else {
        renew(tables, flow, protocol, now)
    }
}

/// The hop towards a backend for a new flow, which all flows to it share.
#[inline(always)]
pub fn of_backend<T: Tables>(tables: &T, draft: &mut Draft, protocol: u32) -> Result<(), Reason> {
    let (backend, now) = (draft.flow.backend, draft.flow.seen);
    draft.flow.hop = tables.hop(backend).ok_or(Reason::Inconsistent)?;
    if now.wrapping_sub(draft.flow.hop.at) < FRESH {
        return Ok(());
    }
    renew(tables, FlowRef::of_draft(draft), protocol, now)?;
    tables.save_hop(backend, &draft.flow.hop);
    Ok(())
}

/// If routing has no answer now, the last one still serves: a neighbour entry that is being
/// confirmed must not cut a flow. A function of its own in the kernel too: rare, and its stack is
/// its own.
#[inline(never)]
fn renew<T: Tables>(tables: &T, flow: FlowRef, protocol: u32, now: u64) -> Result<(), Reason> {
    let CachedHop { mut hop, at } = flow.hop();
    match tables.route(&flow.src(), &flow.dst(), protocol, &mut hop) {
        Err(reason) if at == 0 => Err(reason),
        _ => {
            flow.set_hop(&CachedHop { hop, at: now });
            Ok(())
        }
    }
}
