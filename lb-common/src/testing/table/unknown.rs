//! Segments of flows that nobody knows: answered, dropped, or placed like the first of a flow.

use super::{CLIENT_MAC, Ends, Link, OUR_MAC, Row, Verdict, tagged};
use crate::{
    testing::{
        frames::{Frame, reset, tcp},
        guarded::{DENIED_PORT, EXCEPTED_PORT},
    },
    verdict::Reason,
};

pub(super) fn add(rows: &mut Vec<Row>, e: &Ends) {
    let told = Verdict::Answer(Reason::UnknownFlowReset);
    let back = Link { src_mac: OUR_MAC, dst_mac: CLIENT_MAC, ..Link::default() };
    let (client, vip) = (e.client(), e.vip(EXCEPTED_PORT));
    let come = |flags, payload: &[u8]| tcp(Link::default(), client, vip, flags, payload);
    let answer = |number, acknowledged| reset(back, vip, client, number, acknowledged);
    let row = |text: &str, frame: Frame, out: Frame| {
        Row::new(e.title(text), frame, told).out(out).live(0)
    };
    let ranged = tcp(tagged(30), client, vip, "PA", b"data");
    rows.extend([
        // All that it acknowledges is what the sender expects next (RFC 9293, 3.10.7.1).
        row("data of no flow is answered", come("PA", b"data"), answer(2000, None)),
        row("an ACK of no flow", come("A", b""), answer(2000, None)),
        row("a FIN of no flow", come("FA", b""), answer(2000, None)),
        row("a SYN-ACK of no flow", come("SA", b""), answer(2000, None)),
        row("a FIN that acknowledges nothing", come("F", b"end"), answer(0, Some(1004))),
        row(
            "a tagged segment of no flow",
            ranged,
            reset(Link { vlan: Some(30), ..back }, vip, client, 2000, None),
        ),
        Row::drop(e.title("never a RST for a RST"), come("R", b""), Reason::UnknownFlow).live(0),
        Row::drop(e.title("nor one that acknowledges"), come("RA", b""), Reason::UnknownFlow)
            .live(0),
        Row::drop(
            e.title("a denied source is told nothing"),
            tcp(Link::default(), client, e.vip(DENIED_PORT), "PA", b"data"),
            Reason::Denied,
        )
        .live(0),
    ]);
}
