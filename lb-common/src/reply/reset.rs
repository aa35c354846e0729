//! A TCP reset for a segment that nobody takes (RFC 9293, 3.10.7.1).

use super::{
    may_be_answered,
    segment::{self, Numbers},
};
use crate::{
    context::{
        parsed::{ParsedPacket, Scratch},
        verdict::{NextStep, Reason},
    },
    wire::{
        packet::Packet,
        parse::{
            Kind, TCP, end,
            tcp_flags::{self, RST},
        },
    },
};

/// Tells the sender of a TCP segment that it has no connection; drops what is no TCP, what speaks
/// of TCP (an ICMP error), and what is itself a reset. The reason is in the exit.
#[inline(never)]
pub(crate) fn refuse<P: Packet>(packet: &mut P, scratch: &mut Scratch) -> Result<(), Reason> {
    let Scratch { parsed, onward, .. } = scratch;
    let is_segment = parsed.key.protocol == TCP && parsed.kind == Kind::Segment;
    if !is_segment || parsed.flags & RST != 0 {
        return Err(onward.exit.reason);
    }
    if !may_be_answered(packet, parsed.key.src) {
        let untold = onward.exit.reason == Reason::UnknownFlowReset;
        return Err(if untold { Reason::UnknownFlow } else { onward.exit.reason });
    }
    let numbers = numbers(packet, parsed)?;
    let flags = if parsed.flags & tcp_flags::ACK != 0 { RST } else { RST | tcp_flags::ACK };
    onward.way = NextStep::Answer;
    segment::make(packet, parsed, numbers, flags).map_err(|_| onward.exit.reason)
}

/// What the sender will believe: the number that it acknowledged, or an acknowledgement of all that
/// it sent.
#[inline(always)]
fn numbers<P: Packet>(packet: &P, parsed: &ParsedPacket) -> Result<Numbers, Reason> {
    use tcp_flags::{ACK, FIN, SYN};
    let l4 = parsed.l4;
    if parsed.flags & ACK != 0 {
        return Ok(Numbers { sequence: word(packet, l4 + 8)?, acknowledgement: 0 });
    }
    let header = (word(packet, l4 + 12)? >> 28) * 4;
    // SYN and FIN take a number each (RFC 9293, 3.4).
    let marks = (parsed.flags & SYN != 0) as u32 + (parsed.flags & FIN != 0) as u32;
    let end = end(packet, parsed.family).ok_or(Reason::Truncated)?;
    let payload = end.wrapping_sub(l4 + header);
    let sent = word(packet, l4 + 4)?.wrapping_add(payload).wrapping_add(marks);
    Ok(Numbers { sequence: 0, acknowledgement: sent })
}

#[inline(always)]
fn word<P: Packet>(packet: &P, offset: u32) -> Result<u32, Reason> {
    let bytes = packet.at_far::<[u8; 4]>(offset).ok_or(Reason::Truncated)?;
    Ok(u32::from_be_bytes(*bytes))
}
