//! Next hops: looked up by the host's routing, then kept for a second, so that a known flow's
//! packet costs no route lookup and a change of route or neighbour is followed all the same.

use crate::{
    abi::mode,
    context::{
        map_values::{FlowRef, ReachRef},
        tables::{NEIGHBOUR, Tables},
        verdict::Reason,
    },
};

/// ns for which a hop is used without asking again.
const FRESH: u64 = 1_000_000_000;

/// Sees to it that a known flow's way back to its client may be used.
#[inline(always)]
pub fn of_flow<T: Tables>(tables: &T, flow: FlowRef, now: u64) -> Result<(), Reason> {
    if now.wrapping_sub(flow.hop_at()) < FRESH { Ok(()) } else { renew_back(tables, flow, now) }
}

/// Sees to it that the way to a flow's backend, which all flows to it share, may be used.
#[inline(always)]
pub fn of_reach<T: Tables>(
    tables: &T,
    reach: ReachRef,
    flow: FlowRef,
    now: u64,
) -> Result<(), Reason> {
    if now.wrapping_sub(reach.at()) < FRESH {
        Ok(())
    } else {
        renew(tables, reach, flow.backend(), asked(flow.protocol(), flow.mode()))
    }
}

/// The same before there is a flow; `wanted` as [`asked`] answers.
#[inline(always)]
pub fn of_backend<T: Tables>(tables: &T, id: u32, wanted: u32, now: u64) -> Result<(), Reason> {
    let reach = tables.reach(id).ok_or(Reason::Inconsistent)?;
    if now.wrapping_sub(reach.at()) < FRESH { Ok(()) } else { renew(tables, reach, id, wanted) }
}

/// What routing is asked for. A router would send a packet of `l2`, which is for an address of
/// ours, back to us, again and again until its time to live is over.
#[inline(always)]
pub const fn asked(protocol: u32, mode: u32) -> u32 {
    if mode == mode::L2 { protocol | NEIGHBOUR } else { protocol }
}

/// If routing has no answer now, the last one still serves: a neighbour entry that is being
/// confirmed must not cut a flow. A function of its own in the kernel too: rare, and its stack is
/// its own.
#[inline(never)]
fn renew_back<T: Tables>(tables: &T, flow: FlowRef, now: u64) -> Result<(), Reason> {
    let mut cached = flow.hop();
    match tables.route(&flow.vip(), &flow.client(), flow.protocol(), &mut cached.hop) {
        Err(reason) if cached.at == 0 => Err(reason),
        _ => {
            cached.at = now;
            flow.set_hop(cached);
            Ok(())
        }
    }
}

/// The same towards a backend. CPUs that race here write what routing told both.
#[inline(never)]
fn renew<T: Tables>(tables: &T, reach: ReachRef, id: u32, wanted: u32) -> Result<(), Reason> {
    let backend = tables.backend(id).ok_or(Reason::Inconsistent)?;
    let mut hop = reach.hop();
    match tables.route(&backend.source, &backend.address, wanted, &mut hop) {
        Err(reason) if reach.at() == 0 => Err(reason),
        _ => {
            if backend.mtu != 0 && (hop.mtu == 0 || backend.mtu < hop.mtu) {
                hop.mtu = backend.mtu;
            }
            reach.set_hop(hop);
            reach.set_at(tables.now());
            Ok(())
        }
    }
}
