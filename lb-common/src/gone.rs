//! Packets of flows whose backend is gone.

use crate::{
    abi::{mode, service_flags, status},
    arrival::Desk,
    flow::{UDP, tcp_flags},
    flow_table::{self, Found},
    tables::Tables,
    track,
    verdict::{Reason, Way},
};

/// Lets a client's packet go its way while its flow's backend is there. Otherwise takes the flow out
/// and has another opened for the packet ([`Way::Open`]), or the client reset ([`Way::Refuse`]).
#[inline(never)]
pub(crate) fn settle<T: Tables>(tables: &T, desk: &mut Desk) -> Result<(), Reason> {
    let Desk { arrival, onward, .. } = desk;
    let flow = flow_table::entry(tables, onward.flow).ok_or(Reason::Inconsistent)?;
    let reach = tables.reach(flow.backend()).ok_or(Reason::Inconsistent)?;
    if reach.status() == status::HERE {
        return Ok(());
    }
    let service = tables.service(flow.service()).ok_or(Reason::Inconsistent)?;
    onward.service = flow.service();
    // A client that still says SYN has lost nothing yet.
    let first = arrival.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
    let over = arrival.flags & tcp_flags::RST != 0;
    let moves = flow.protocol() == UDP || first || service.flags & service_flags::MOVE != 0;
    if !moves && flow.mode() != mode::NAT {
        // What is under way behind this packet would open a flow to another backend, since there any
        // ACK may: it finds the closed one, and is refused alike.
        flow.set_seen(tables.now());
        track::reset(tables, Found::read(flow));
    } else if !flow_table::remove(tables, flow) {
        return Err(Reason::RacedFlow);
    }
    if moves && !over {
        onward.way = Way::Open;
    } else {
        onward.refuse(Reason::BackendGone);
    }
    Ok(())
}
