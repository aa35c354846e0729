//! Frames that depend on answers: the same dialogue with the library and with the loaded object.

use super::{
    frames::{CLIENT_MAC, Frame, Link, OUR_MAC, tcp},
    world::guarded::CHALLENGE_PORTS,
    world::{CLIENTS, TAGGED_CLIENTS, VIPS, socket},
};
use crate::context::verdict::Reason;

/// What became of a frame, as far as both can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Sent on to a backend.
    Steered,
    /// Sent back as an answer.
    Answered(Reason),
    Dropped(Reason),
}

/// A challenge: answered wrong, answered by another, answered right, and the SYN that follows.
///
/// # Errors
///
/// What `send` said was not what should have become of a frame.
pub fn challenge(
    family: usize,
    vlan: Option<u16>,
    mut send: impl FnMut(&Frame) -> (Fate, Frame),
) -> Result<(), String> {
    let (client, vip) = (socket(CLIENTS[family], 50_000), socket(VIPS[family], CHALLENGE_PORTS[0]));
    let link = Link { vlan, ..Link::default() };
    let back = Link { src_mac: OUR_MAC, dst_mac: CLIENT_MAC, vlan, ttl: 64 };
    let from = |port, flags| {
        let mut client = client;
        client.set_port(port);
        tcp(link, client, vip, flags, b"")
    };
    let mut expect = |what: &str, frame: &Frame, expected: Fate| {
        let (fate, out) = send(frame);
        if fate == expected { Ok(out) } else { Err(format!("{what}: {fate:?}, not {expected:?}")) }
    };
    let mut others = CLIENTS;
    others[family] = TAGGED_CLIENTS[family];
    for port in 1..=3 {
        // The first is one of few; after the third there were too many in any case.
        let stranger = socket(others[family], port);
        let _ = expect("a stranger", &tcp(link, stranger, vip, "S", b""), Fate::Steered);
    }
    let syn = from(50_000, "S");
    let out = expect("a SYN", &syn, Fate::Answered(Reason::Challenged))?;
    out.verify()?;
    let [sequence, told] = out.numbers();
    let shape = tcp(back, vip, client, "SA", b"");
    let shape = shape.sequenced(sequence).acknowledging(told).windowed(0);
    if out != shape {
        return Err(format!("out {out:?}\nexpected {shape:?}"));
    }
    let failed = Fate::Dropped(Reason::ChallengeFailed);
    expect("a wrong number", &from(50_000, "R").sequenced(told ^ 1), failed)?;
    expect("another port", &from(50_001, "R").sequenced(told), failed)?;
    expect("still unknown", &syn, Fate::Answered(Reason::Challenged))?;
    let passed = Fate::Dropped(Reason::ChallengePassed);
    expect("the right number", &from(50_000, "R").sequenced(told), passed)?;
    expect("the SYN again", &syn, Fate::Steered)?;
    expect("another flow of the source", &from(50_002, "S"), Fate::Steered)?;
    let stranger = tcp(link, socket(others[family], 9), vip, "S", b"");
    expect("an unknown source", &stranger, Fate::Answered(Reason::Challenged)).map(drop)
}
