//! Which backend gets a new flow.

use crate::{arrival::Arrival, flow::slot, tables::Tables, verdict::Reason};

/// The backend whose share of the ring the flow falls on.
#[inline(always)]
pub(crate) fn pick<T: Tables>(tables: &T, service: u32, arrival: &Arrival) -> Result<u32, Reason> {
    let ring = tables.current_ring(service).ok_or(Reason::Inconsistent)?;
    if ring.length() == 0 {
        return Err(Reason::NoBackend);
    }
    let slot = ring.offset() + slot(arrival.key.hash(), ring.length());
    tables.ring(slot).ok_or(Reason::Inconsistent)
}
