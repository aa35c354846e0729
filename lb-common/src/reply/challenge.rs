//! A challenge to a SYN: a SYN-ACK that acknowledges what was not sent.
//!
//! A client that really opens a connection answers it with a reset that carries the number it was
//! given (RFC 9293, 3.10.7.3: SYN-SENT, an unacceptable ACK), and sends its SYN again. Who forged
//! its address never sees the number. docs/attack.md says why it is this one.

use super::{
    may_be_answered,
    segment::{self, Numbers},
    syn_cookie,
};
use crate::{
    context::{
        parsed::Scratch,
        tables::Tables,
        verdict::{NextStep, Reason},
    },
    wire::{packet::Packet, parse::tcp_flags},
};

#[inline(never)]
pub(crate) fn answer<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    if !may_be_answered(packet, scratch.parsed.key.src) {
        return Err(Reason::ChallengeFailed);
    }
    let told = syn_cookie::bake(&scratch.parsed.key, tables.now(), tables.seed());
    let numbers = Numbers { sequence: (told >> 32) as u32, acknowledgement: told as u32 };
    scratch.onward.exit.reason = Reason::Challenged;
    scratch.onward.way = NextStep::Answer;
    segment::make(packet, &scratch.parsed, numbers, tcp_flags::SYN | tcp_flags::ACK)
}
