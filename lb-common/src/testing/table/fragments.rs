//! Fragments follow the first one of their packet, both ways.

use super::row::{Ends, Row, TO_BACKEND, TO_CLIENT, from_backend, to_backend, to_client};
use crate::context::verdict::Verdict;
use crate::testing::frames::Link;
use crate::{
    context::verdict::Reason,
    testing::{
        frames::{Frame, echo_request, tcp, udp},
        world::{PROXY_PORT, UDP_PORT},
    },
};

const ID: u32 = 0x1234;
const SIZE: usize = 64;

/// Longer than two fragments.
const LONG: [u8; 150] = [b'x'; 150];

impl Ends {
    fn header(&self) -> usize {
        if self.vip.is_ipv4() { 34 } else { 54 }
    }

    fn pieces(&self) -> Vec<Frame> {
        self.datagram(&LONG).fragments(ID, SIZE)
    }
}

pub(crate) fn add(rows: &mut Vec<Row>, e: &Ends) {
    followed(rows, e);
    elsewhere(rows, e);
    refused(rows, e);
}

fn followed(rows: &mut Vec<Row>, e: &Ends) {
    let there = e.pieces();
    let out = udp(to_backend(), e.source(0), e.backend(), &LONG).fragments(ID, SIZE);
    let back = udp(from_backend(), e.backend(), e.source(0), &LONG).fragments(ID, SIZE);
    let at_client = udp(to_client(), e.vip(UDP_PORT), e.client(), &LONG).fragments(ID, SIZE);
    assert_eq!(there.len(), 3, "a first, a middle and a last fragment");
    let row = |text: &str, nth: usize| {
        Row::new(e.title(text), there[nth].clone(), TO_BACKEND).out(out[nth].clone()).live(1)
    };
    let answer = |text: &str, nth: usize| {
        Row::new(e.title(text), back[nth].clone(), TO_CLIENT).out(at_client[nth].clone())
    };
    let segment = tcp(Link::default(), e.client(), e.vip(80), "PA", &LONG).fragments(ID, SIZE);
    let segment_out = tcp(to_backend(), e.source(0), e.backend(), "PA", &LONG).fragments(ID, SIZE);
    rows.extend([
        row("a first fragment opens a flow", 0),
        row("a middle fragment follows it", 1).after([there[0].clone()]),
        row("the last one does", 2).after(there[..2].to_vec()),
        row("the last one before the middle one", 2).after([there[0].clone()]),
        row("the middle one after the last one", 1).after([there[0].clone(), there[2].clone()]),
        row("a first fragment of a known flow", 0).after([e.datagram(b"first")]),
        answer("a first fragment to the client", 0).after([e.datagram(b"first")]),
        answer("a middle one to the client", 1).after([e.datagram(b"first"), back[0].clone()]),
        answer("the last one to the client", 2)
            .after([&[e.datagram(b"first")], &back[..2]].concat()),
        Row::new(e.title("a segment's last fragment"), segment[2].clone(), TO_BACKEND)
            .after([&[e.syn()], &segment[..2]].concat())
            .out(segment_out[2].clone())
            .live(1),
    ]);
}

fn elsewhere(rows: &mut Vec<Row>, e: &Ends) {
    let proxied = tcp(Link::default(), e.client(), e.vip(PROXY_PORT), "A", &LONG);
    let proxied = proxied.fragments(ID, SIZE);
    let stranger = std::net::SocketAddr::new(e.stranger, UDP_PORT);
    let strange = udp(Link::default(), e.client(), stranger, &LONG).fragments(ID, SIZE);
    let host = udp(from_backend(), e.backend(), e.source(7), &LONG).fragments(ID, SIZE);
    let row = |text: &str, frame: &Frame, verdict| {
        Row::new(e.title(text), frame.clone(), verdict).live(0)
    };
    rows.extend([
        row("a first fragment for the proxy", &proxied[0], Verdict::Proxy),
        row("a later one for the proxy", &proxied[1], Verdict::Proxy).after([proxied[0].clone()]),
        row("a stranger's first fragment", &strange[0], Verdict::Pass),
        row("a stranger's later fragment", &strange[1], Verdict::Pass).after([strange[0].clone()]),
        row("a backend's fragment of no flow of ours", &host[0], Verdict::Pass),
        row("a later one of no flow of ours", &host[1], Verdict::Pass).after([host[0].clone()]),
    ]);
}

fn refused(rows: &mut Vec<Row>, e: &Ends) {
    use Reason::{BadIpHeader, BadTransportHeader, FragmentEarly, FragmentOverlap, FragmentTiny};
    let (header, pieces, whole) = (e.header(), e.pieces(), e.datagram(&LONG));
    let cut = |at, length, more| whole.fragment(ID, header, at, length, more);
    let of_segment = |at, length, more| {
        let whole = tcp(Link::default(), e.client(), e.vip(80), "S", &LONG);
        whole.fragment(ID, header, at, length, more)
    };
    let drop = |text: &str, frame, reason| Row::drop(e.title(text), frame, reason).live(0);
    let after = |text: &str, frame, reason| {
        Row::drop(e.title(text), frame, reason).after([pieces[0].clone()]).live(1)
    };
    let other_id = whole.fragments(ID + 1, SIZE);
    let undeclared = udp(Link::default(), e.client(), e.vip(8081), &LONG).fragments(ID, SIZE);
    let mut other = e.client();
    other.set_ip(e.tagged_client);
    let other = udp(Link::default(), other, e.vip(UDP_PORT), &LONG).fragments(ID, SIZE);
    let echo = echo_request(Link::default(), e.client, e.vip).padded(header + 72).lengthen(60);
    rows.extend([
        drop("a later fragment before its first", pieces[1].clone(), FragmentEarly),
        drop("a last fragment before its first", pieces[2].clone(), FragmentEarly),
        after("a fragment of another packet", other_id[1].clone(), FragmentEarly),
        after("another source's fragment", other[1].clone(), FragmentEarly),
        drop("a later one of what was dropped", undeclared[1].clone(), FragmentEarly)
            .after([undeclared[0].clone()]),
        drop("a late one of a packet that is whole", pieces[1].clone(), FragmentEarly)
            .after(pieces.clone())
            .live(1),
        after("an overlap with the first fragment", cut(56, 32, true), FragmentOverlap),
        drop("a first fragment of eight bytes of TCP", of_segment(0, 8, true), FragmentTiny),
        drop("a first fragment of 16 bytes of TCP", of_segment(0, 16, true), FragmentTiny),
        drop(
            "a fragment that begins in the TCP header",
            of_segment(8, 32, false),
            if e.vip.is_ipv4() { FragmentTiny } else { FragmentOverlap },
        )
        .after([of_segment(0, 24, true)])
        .live(1),
        drop("a middle fragment of odd length", cut(0, 61, true), BadIpHeader),
        drop("a fragment without data", cut(64, 0, false), BadIpHeader),
        drop("a fragment past 65,535 bytes", far(&cut(64, 32, false), e), BadIpHeader),
        drop(
            "a datagram that ends in its first fragment",
            {
                udp(Link::default(), e.client(), e.vip(UDP_PORT), &[0; 8])
                    .fragment(ID, header, 0, 16, true)
            },
            BadTransportHeader,
        ),
        drop("an echo request in fragments", echo.fragments(ID, 64)[0].clone(), Reason::Fragment),
    ]);
}

/// The same fragment at the very end of what offsets can say.
fn far(frame: &Frame, e: &Ends) -> Frame {
    if e.vip.is_ipv4() {
        frame.clone().patch(20, &[0x1f, 0xff]).summed()
    } else {
        frame.clone().patch(56, &[0xff, 0xf8])
    }
}
