//! A challenge to a SYN: a SYN-ACK that acknowledges what was not sent.
//!
//! A client that really opens a connection answers it with a reset that carries the number it was
//! given (RFC 9293, 3.10.7.3: SYN-SENT, an unacceptable ACK), and sends its SYN again. Who forged
//! its address never sees the number. docs/attack.md says why it is this one.

use super::segment::{self, Numbers};
use super::syn_cookie;
use crate::{
    context::{
        parsed::Desk,
        tables::Tables,
        verdict::{Reason, Way},
    },
    wire::{packet::Packet, parse::tcp_flags},
};

#[inline(never)]
pub(crate) fn answer<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    desk: &mut Desk,
) -> Result<(), Reason> {
    let told = syn_cookie::bake(&desk.arrival.key, tables.now(), tables.seed());
    let numbers = Numbers { sequence: (told >> 32) as u32, acknowledgement: told as u32 };
    desk.onward.exit.reason = Reason::Challenged;
    desk.onward.way = Way::Answer;
    segment::make(packet, &desk.arrival, numbers, tcp_flags::SYN | tcp_flags::ACK)
}
