//! A new flow, from the backend that was picked to an entry that is found from both sides.

use super::open;
use super::port_shortage;
use crate::{
    context::{
        parsed::{Desk, wish},
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
    desk: &mut Desk,
) -> Result<(), Reason> {
    let opened = open::begin(packet, tables, desk)
        .and_then(|()| match desk.onward.wishes(wish::TUNNEL) {
            true => encap::prepare(tables, desk),
            false => Ok(()),
        })
        .and_then(|()| match open::reserve(tables, desk) {
            Err(Reason::PortsExhausted) => port_shortage::relieve(tables, desk),
            reserved => reserved,
        })
        .and_then(|()| open::finish(tables, desk));
    if opened.is_err() {
        pick::give_back(tables, desk);
    }
    if opened == Err(Reason::PortsExhausted) {
        tables.exhausted(desk.onward.backend);
        desk.onward.refuse(Reason::PortsExhausted);
        return Ok(());
    }
    opened
}
