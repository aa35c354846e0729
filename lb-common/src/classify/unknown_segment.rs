//! Segments in the middle of a TCP flow that nobody knows: it was silent for too long, or gave way
//! to others. Its sender is told so, and need not find out by its own timeouts.

use super::flood_guard;
use crate::{
    abi::service_flags,
    context::{
        parsed::{Extent, Scratch},
        tables::Tables,
        verdict::Reason,
    },
    reply::rate,
    wire::parse::tcp_flags,
};

/// Has the sender reset ([`NextStep::Refuse`](crate::verdict::NextStep)), as often as the rate of a
/// CPU allows. Never in answer to a reset, nor to who is denied anyway.
#[inline(never)]
pub(crate) fn settle<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let service = tables.service(scratch.onward.service).ok_or(Reason::Inconsistent)?;
    let is_reset = scratch.parsed.flags & tcp_flags::RST != 0;
    // The number of a fragmented segment's end is not known here.
    let is_whole = scratch.parsed.piece.extent == Extent::Whole;
    if service.flags & service_flags::RESET_UNKNOWN == 0 || is_reset || !is_whole {
        return Err(Reason::UnknownFlow);
    }
    if service.flags & service_flags::LISTED != 0 {
        flood_guard::check_lists(tables, service, scratch)?;
    }
    if !rate::is_due(&mut scratch.resets, tables.now()) {
        return Err(Reason::UnknownFlow);
    }
    scratch.onward.refuse(Reason::UnknownFlowReset);
    Ok(())
}
