//! Who may open a flow: lists, a challenge while unknown sources come in masses, rates.
//!
//! In this order: what is forged must not use up what others may have of a rate.

use crate::reply::syn_cookie;
use crate::{
    abi::{Address, ListKey, Prefixes, Service, SourceKey, access, mode, service_flags},
    context::{
        map_values::{MeterRef, WordRef},
        parsed::Scratch,
        tables::Tables,
        verdict::Reason,
    },
    flow_table::table,
    reply::challenge,
    wire::{
        packet::Packet,
        parse::{TCP, sequence, tcp_flags},
    },
};

/// What is known when one host is: it cannot be kept from using its whole IPv6 network.
const HOST: Prefixes = Prefixes { v4: 32, v6: 64, pad: 0 };
const SECOND: u64 = 1_000_000_000;
/// ns after an attack in which an answer to a challenge may come: cookies are good no longer.
const ANSWERS: u64 = SECOND + (2 << 36);

/// Decides about the opening of a flow, and about the answer to a challenge, which is none.
/// The way stays [`NextStep::Open`](crate::verdict::NextStep) if it may go on.
#[inline(never)]
pub(crate) fn check<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let service = tables.service(scratch.onward.service).ok_or(Reason::Inconsistent)?;
    if service.flags & service_flags::LISTED != 0 {
        check_lists(tables, service, scratch)?;
    }
    if service.challenge != 0 && scratch.parsed.key.protocol == TCP {
        if scratch.parsed.flags & tcp_flags::RST != 0 {
            let reason = receive_answer(packet, tables, scratch);
            // With direct answers it may be of another node's flow.
            let is_answer = matches!(reason, Reason::ChallengePassed);
            if service.mode == mode::NAT || is_answer {
                return Err(reason);
            }
        }
        if scratch.parsed.flags & tcp_flags::SYN != 0 && is_challenged(tables, service, scratch) {
            return challenge::answer(packet, tables, scratch);
        }
    }
    if service.source_interval != 0 {
        check_source_rate(tables, service, scratch)?;
    }
    if service.service_interval != 0 {
        check_service_rate(tables, service, scratch)?;
    }
    Ok(())
}

#[inline(never)]
pub(crate) fn check_lists<T: Tables>(
    tables: &T,
    service: &Service,
    scratch: &Scratch,
) -> Result<(), Reason> {
    let key = ListKey::whole(scratch.onward.service, scratch.parsed.key.src);
    match tables.access(&key) {
        access::ALLOW => Ok(()),
        access::UNNAMED if service.flags & service_flags::DENY_OTHERS == 0 => Ok(()),
        _ => Err(Reason::Denied),
    }
}

/// Counts an unknown source, and says whether there were too many in this second, or lately: within
/// a second, so that the next one does not begin with as many forged ones let in.
#[inline(never)]
fn is_challenged<T: Tables>(tables: &T, service: &Service, scratch: &Scratch) -> bool {
    let now = tables.now();
    if is_known(tables, scratch.parsed.key.src.masked(HOST), service.remember, now) {
        return false;
    }
    let Some(meter) = tables.meter(scratch.onward.service) else { return false };
    let (window, second) = (meter.window(), (now / SECOND) << 32);
    let seen = window.load();
    // Who loses the exchange finds the second begun.
    if seen >> 32 != second >> 32 && tables.exchange(window, seen, second | 1) {
        return is_attacked(meter, now, SECOND);
    }
    if tables.add(window, 1) as u32 >= service.challenge {
        set(tables, meter.attacked(), now);
        return true;
    }
    is_attacked(meter, now, SECOND)
}

/// Whether the service is, or was so many ns ago.
#[inline(always)]
fn is_attacked(meter: MeterRef, now: u64, within: u64) -> bool {
    let at = meter.attacked().load();
    at != 0 && now.saturating_sub(at) < within
}

#[inline(always)]
fn is_known<T: Tables>(tables: &T, source: Address, remember: u64, now: u64) -> bool {
    let at = tables.known(&source).map_or(0, WordRef::load);
    at != 0 && now.saturating_sub(at) < remember
}

/// Remembers who sent a reset with the number that we gave to it (RFC 9293, 3.10.7.3). The reset
/// itself goes nowhere.
#[inline(never)]
fn receive_answer<P: Packet, T: Tables>(packet: &P, tables: &T, scratch: &Scratch) -> Reason {
    packet.anchor();
    let now = tables.now();
    let key = &scratch.parsed.key;
    let Some(meter) = tables.meter(scratch.onward.service) else { return Reason::Inconsistent };
    if !is_attacked(meter, now, ANSWERS) {
        return Reason::UnknownFlow;
    }
    let Ok(number) = sequence(packet, scratch.parsed.l4) else { return Reason::Truncated };
    if !syn_cookie::is_good(u32::from_be_bytes(number), key, now, tables.seed()) {
        return Reason::ChallengeFailed;
    }
    note(tables, key.src, now);
    Reason::ChallengePassed
}

/// Remembers the source of a flow whose handshake is complete. Where backends answer directly, all
/// that we have seen of it can be forged.
#[inline(never)]
pub(crate) fn remember<T: Tables>(tables: &T, scratch: &Scratch) {
    let Some(flow) = table::entry(tables, scratch.onward.flow) else { return };
    let Some(service) = tables.service(flow.service()) else { return };
    if service.challenge != 0 && flow.protocol() == TCP && flow.mode() == mode::NAT {
        note(tables, scratch.parsed.key.src, tables.now());
    }
}

/// Whoever else sets the word at the same time sets it to nearly the same. By exchanging, as tables
/// that nothing may change refuse it.
#[inline(always)]
fn set<T: Tables>(tables: &T, word: WordRef, now: u64) {
    tables.exchange(word, word.load(), now);
}

#[inline(always)]
fn note<T: Tables>(tables: &T, source: Address, now: u64) {
    let source = source.masked(HOST);
    match tables.known(&source) {
        // A busy source's word need not change with each of its connections.
        Some(at) if now.saturating_sub(at.load()) < SECOND => {}
        Some(at) => set(tables, at, now),
        None => tables.add_known(&source, now),
    }
}

#[inline(never)]
fn check_source_rate<T: Tables>(
    tables: &T,
    service: &Service,
    scratch: &Scratch,
) -> Result<(), Reason> {
    let address = scratch.parsed.key.src.masked(service.source_prefix);
    let key = SourceKey { address, service: scratch.onward.service, pad: 0 };
    let now = tables.now();
    let Some(due) = tables.due(&key) else {
        tables.add_source(&key, now.wrapping_add(service.source_interval));
        return Ok(());
    };
    let conforms = conforms(tables, due, now, service.source_interval, service.source_burst);
    if conforms { Ok(()) } else { Err(Reason::SourceRate) }
}

#[inline(never)]
fn check_service_rate<T: Tables>(
    tables: &T,
    service: &Service,
    scratch: &Scratch,
) -> Result<(), Reason> {
    let meter = tables.meter(scratch.onward.service).ok_or(Reason::Inconsistent)?;
    let (interval, burst) = (service.service_interval, service.service_burst);
    let conforms = conforms(tables, meter.due(), tables.now(), interval, burst);
    if conforms { Ok(()) } else { Err(Reason::ServiceRate) }
}

/// The generic cell rate algorithm (ITU-T I.371, annex A, virtual scheduling): a flow may come by
/// `burst` ns before it is due, and makes the next one due `interval` ns later.
///
/// CPUs exchange the word. One that loses tries again; after as many tries it lets its flow through
/// uncounted, so that a race can let a few more through and never refuses one. The word may be of
/// an entry that the LRU has just given to another source: that one is then due an interval later.
#[inline(always)]
fn conforms<T: Tables>(tables: &T, word: WordRef, now: u64, interval: u64, burst: u64) -> bool {
    const TRIES: u32 = 4;
    let latest = now.wrapping_add(burst);
    for _ in 0..TRIES {
        let due = word.load();
        let from = if due < now || due > latest.wrapping_add(interval) {
            // Long ago, or left by a limit that was another.
            now
        } else if due > latest {
            return false;
        } else {
            due
        };
        if tables.exchange(word, due, from.wrapping_add(interval)) {
            return true;
        }
    }
    true
}
