//! Next hops: looked up by the host's routing, then kept for a second, so that a known flow's
//! packet costs no route lookup and a change of route or neighbour is followed all the same.

use crate::{
    abi::{Address, CachedHop, FlowKey, Hop},
    tables::{FlowRef, Query, Tables},
    verdict::Reason,
};

/// ns for which a hop is used without asking again.
const FRESH: u64 = 1_000_000_000;

/// The hop of a known flow's packet. If routing has no answer now, the last one still serves:
/// a neighbour entry that is being confirmed must not cut a flow.
#[inline(always)]
pub fn of_flow<T: Tables>(
    tables: &T,
    flow: FlowRef,
    key: &FlowKey,
    now: u64,
) -> Result<Hop, Reason> {
    let cached = flow.hop();
    if now.wrapping_sub(cached.at) < FRESH {
        return Ok(cached.hop);
    }
    let query = query(key, flow.src(), flow.dst());
    let renewed = renew(tables, &cached, &query, now)?;
    flow.set_hop(&renewed);
    Ok(renewed.hop)
}

/// The hop towards a backend for a new flow, shared by all flows to it.
#[inline(always)]
pub fn of_backend<T: Tables>(
    tables: &T,
    backend: u32,
    query: &Query,
    now: u64,
) -> Result<CachedHop, Reason> {
    let cached = tables.hop(backend).ok_or(Reason::Inconsistent)?;
    if now.wrapping_sub(cached.at) < FRESH {
        return Ok(cached);
    }
    let renewed = renew(tables, &cached, query, now)?;
    tables.save_hop(backend, &renewed);
    Ok(renewed)
}

#[inline(always)]
fn renew<T: Tables>(
    tables: &T,
    cached: &CachedHop,
    query: &Query,
    now: u64,
) -> Result<CachedHop, Reason> {
    let mut renewed = CachedHop { at: now, ..*cached };
    match tables.route(query, &mut renewed.hop) {
        Err(reason) if cached.at == 0 => Err(reason),
        _ => Ok(renewed),
    }
}

#[inline(always)]
pub fn query(key: &FlowKey, src: Address, dst: Address) -> Query {
    Query {
        v6: !src.is_v4(),
        protocol: key.protocol,
        src,
        dst,
    }
}
