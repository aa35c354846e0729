//! A new flow, from the backend that was picked to an entry that is found from both sides.

use super::open;
use super::port_shortage;
use crate::{
    context::{
        parsed::{Scratch, wish},
        tables::Tables,
        verdict::Reason,
    },
    forward::encap,
    select::pick,
    wire::packet::Packet,
};

/// Opens a flow to the backend that was picked for it. Refuses where neither it nor another backend
/// has a free source port.
#[inline(always)]
pub(crate) fn open<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let opened = open::begin(packet, tables, scratch)
        .and_then(|()| match scratch.onward.wishes(wish::TUNNEL) {
            true => encap::prepare(tables, scratch),
            false => Ok(()),
        })
        .and_then(|()| match open::reserve(tables, scratch) {
            Err(Reason::PortsExhausted) => port_shortage::relieve(tables, scratch),
            reserved => reserved,
        })
        .and_then(|()| open::finish(tables, scratch));
    if opened.is_err() {
        pick::uncount(tables, scratch);
    }
    if opened == Err(Reason::PortsExhausted) {
        tables.exhausted(scratch.onward.backend);
        scratch.onward.refuse(Reason::PortsExhausted);
        return Ok(());
    }
    opened
}
