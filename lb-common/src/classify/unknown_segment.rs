//! Segments in the middle of a TCP flow that nobody knows: it was silent for too long, or gave way to
//! others. Its sender is told so, and need not find out by its own timeouts.

use super::flood_guard;
use crate::{
    abi::service_flags,
    context::{
        parsed::{Desk, Extent},
        tables::Tables,
        verdict::Reason,
    },
    reply::rate,
    wire::parse::tcp_flags,
};

/// Has the sender reset ([`Way::Refuse`](crate::verdict::Way)), as often as the rate of a CPU allows.
/// Never in answer to a reset, nor to who is denied anyway.
#[inline(never)]
pub(crate) fn settle<T: Tables>(tables: &T, desk: &mut Desk) -> Result<(), Reason> {
    let service = tables.service(desk.onward.service).ok_or(Reason::Inconsistent)?;
    let is_reset = desk.arrival.flags & tcp_flags::RST != 0;
    // The number of a fragmented segment's end is not known here.
    let is_whole = desk.arrival.piece.extent == Extent::Whole;
    if service.flags & service_flags::RESET_UNKNOWN == 0 || is_reset || !is_whole {
        return Err(Reason::UnknownFlow);
    }
    if service.flags & service_flags::LISTED != 0 {
        flood_guard::check_lists(tables, service, desk)?;
    }
    if !rate::is_due(&mut desk.resets, tables.now()) {
        return Err(Reason::UnknownFlow);
    }
    desk.onward.refuse(Reason::UnknownFlowReset);
    Ok(())
}
