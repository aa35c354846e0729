//! Programs for `cargo xtask bench xdp`, in its object alone.
//!
//! `BPF_PROG_TEST_RUN` feeds a program its own output from the second round on. So what is timed
//! is `bench_round`, which puts the frame back as it was and calls the program to measure; the
//! floors are called the same way and bear the same cost.

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{Array, HashMap, ProgramArray},
    programs::XdpContext,
};
use lb_common::{
    abi::FlowKey,
    packet::Packet,
    parse::{Headers, Kind, parse},
};

use crate::frame::Frame;

/// Words of the frame that are put back: every header that is rewritten lies within.
const WORDS: usize = 10;
/// Where an IPv4 frame has its source address.
const SOURCE: usize = 26;

#[repr(C)]
pub struct Round {
    frame: [u64; WORDS],
    /// The source address of the first round's frame, as a number; the next ones count up.
    first: u32,
    /// After so many it is the first again. 0: all rounds have the frame's own.
    sources: u32,
    /// How far above the first this round's is.
    turn: u32,
    /// Bytes of the frame.
    length: u32,
    /// Above 0: the program to measure puts something round frames.
    tunnel: u32,
    pad: u32,
}

#[map]
static ROUND: Array<Round> = Array::with_max_entries(1, 0);
#[map]
static MEASURED: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[xdp]
pub fn bench_round(ctx: XdpContext) -> u32 {
    let mut frame = Frame::new(XdpContext::new(ctx.ctx));
    if let Some(round) = ROUND.get_ptr_mut(0) {
        // SAFETY: one TEST_RUN at a time uses the object.
        restore(&mut frame, unsafe { &mut *round });
    }
    // SAFETY: on success it does not return.
    let _ = unsafe { MEASURED.tail_call(&ctx, 0) };
    xdp_action::XDP_ABORTED
}

#[inline(always)]
fn restore(frame: &mut Frame, round: &mut Round) {
    // What went round the last one comes off. The floors, which put nothing there, take nothing off
    // in the same way.
    if round.tunnel > 0 {
        // Hidden: LLVM would subtract half of a pointer, which the verifier refuses.
        let length = core::hint::black_box(frame.length());
        if !frame.adjust_head(length as i32 - round.length as i32) {
            return;
        }
    }
    let mut offset = 0;
    for word in round.frame {
        if let Some(place) = frame.at_mut::<[u8; 8]>(offset) {
            *place = word.to_ne_bytes();
        }
        offset += 8;
    }
    if round.sources > 0 {
        if let Some(place) = frame.at_mut::<[u8; 4]>(SOURCE) {
            *place = round.first.wrapping_add(round.turn).to_be_bytes();
        }
        round.turn = if round.turn + 1 < round.sources { round.turn + 1 } else { 0 };
    }
}

/// The floor of XDP: nothing but an answer.
#[xdp]
pub fn bench_floor_tx(_: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// What a balancer would keep its flows in that has no table of its own.
#[map]
static FLOOR: HashMap<FlowKey, [u64; 12]> = HashMap::with_max_entries(1 << 21, 0);

/// The floor of any balancer: parse the frame, look one flow up.
#[xdp]
pub fn bench_floor_lookup(ctx: XdpContext) -> u32 {
    let mut key = FlowKey::unread();
    let mut headers = Headers::unread();
    match parse(&Frame::new(ctx), &mut key, &mut headers) {
        Ok(Kind::Segment) if FLOOR.get_ptr(&key).is_some() => xdp_action::XDP_TX,
        Ok(_) => xdp_action::XDP_PASS,
        Err(_) => xdp_action::XDP_DROP,
    }
}
