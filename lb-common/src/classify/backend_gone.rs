//! Packets of flows whose backend is gone, or is to get no new ones.

use super::admit;
use crate::lifecycle::tcp_state;
use crate::{
    abi::{PENDING, mode, path, service_flags, status},
    context::{
        parsed::Scratch,
        tables::Tables,
        verdict::{NextStep, Reason},
    },
    flow_table::table::{self, Found},
    wire::parse::{Kind, UDP, tcp_flags},
};

/// Lets a client's packet go its way while its flow's backend is there. Otherwise takes the flow
/// out and has another opened for the packet ([`NextStep::Open`]), or the client reset
/// ([`NextStep::Refuse`]).
///
/// A SYN begins another connection: while the backend keeps what it has, the flow stays beside the
/// new one, until that is established. Anybody can send a SYN.
#[inline(never)]
pub(crate) fn settle<T: Tables>(tables: &T, scratch: &mut Scratch) -> Result<(), Reason> {
    let Scratch { parsed, onward, .. } = scratch;
    let flow = table::entry(tables, onward.flow).ok_or(Reason::Inconsistent)?;
    let reach = tables.reach(flow.backend()).ok_or(Reason::Inconsistent)?;
    let status = reach.status();
    // A client that still says SYN has lost nothing yet.
    let first = parsed.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
    if status == status::HERE || status == status::LEAVING && !first {
        return Ok(());
    }
    if parsed.kind == Kind::Message {
        return Err(Reason::BackendGone);
    }
    // Services come and go, too, and their ports are others' then.
    let Some(vip) = admit::declared(tables, &parsed.key) else {
        table::remove(tables, flow);
        onward.refuse(Reason::UndeclaredPort);
        return Ok(());
    };
    if vip.path == path::PROXY {
        table::remove(tables, flow);
        onward.way = NextStep::Proxy;
        return Ok(());
    }
    let service = tables.service(vip.service).ok_or(Reason::Inconsistent)?;
    onward.service = vip.service;
    let over = parsed.flags & tcp_flags::RST != 0;
    let moves = flow.protocol() == UDP || first || service.flags & service_flags::MOVE != 0;
    if status == status::LEAVING && flow.number() & PENDING == 0 {
        flow.set_watched(1);
        onward.contested = 1;
    } else if !moves && flow.mode() != mode::NAT {
        // What is under way behind this packet would open a flow to another backend, since there
        // any ACK may: it finds the closed one, and is refused alike.
        flow.set_seen(tables.now());
        tcp_state::reset(tables, Found::read(flow));
    } else if !table::remove(tables, flow) {
        return Err(Reason::RacedFlow);
    }
    if moves && !over {
        onward.way = NextStep::Open;
    } else {
        onward.refuse(Reason::BackendGone);
    }
    Ok(())
}
