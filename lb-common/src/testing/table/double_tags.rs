//! Frames with two VLAN tags, both ways.

use std::net::SocketAddr;

use super::row::{CLIENT_PORT, Ends, Row, TO_BACKEND, from_backend, tagged, to_backend, to_client};
use crate::context::verdict::Verdict;
use crate::testing::frames::Link;
use crate::{
    context::verdict::Reason,
    testing::{
        frames::{Frame, tcp},
        world::{
            BACKEND_PORT, BACKEND_SIDE, CLIENT_DOUBLE, DOUBLE, DOUBLE_PORT, FIRST_SOURCE_PORT,
            PROXY_PORT, TCP_PORT,
        },
    },
};

const TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;
const ID: u16 = 0x0fff;

impl Ends {
    fn double_client(&self) -> SocketAddr {
        SocketAddr::new(self.double_client, CLIENT_PORT)
    }
}

/// As clients behind two tags send and receive.
fn dressed(frame: Frame) -> Frame {
    frame.tagged(TAG, CLIENT_DOUBLE[1]).tagged(TAG, CLIENT_DOUBLE[0])
}

/// As backends behind two tags send and receive.
fn behind(frame: Frame) -> Frame {
    frame.tagged(TAG, DOUBLE[1]).tagged(SERVICE_TAG, DOUBLE[0] & ID)
}

pub(crate) fn add(rows: &mut Vec<Row>, e: &Ends) {
    client_side(rows, e);
    backend_side(rows, e);
    more(rows, e);
}

fn client_side(rows: &mut Vec<Row>, e: &Ends) {
    let from =
        |flags: &str| dressed(tcp(Link::default(), e.double_client(), e.vip(TCP_PORT), flags, b""));
    let out = |flags: &str| tcp(to_backend(), e.source(0), e.backend(), flags, b"");
    let answer = |flags: &str| tcp(from_backend(), e.backend(), e.source(0), flags, b"");
    let answered = tcp(to_client(), e.vip(TCP_PORT), e.double_client(), "SA", b"");
    let back = Verdict::Steer { ifindex: 1, vlan: CLIENT_DOUBLE[0] };
    let to_proxy = tcp(Link::default(), e.double_client(), e.vip(PROXY_PORT), "S", b"");
    let priorities = from("S").patch(14, &[0xe0]).patch(18, &[0xa0]);
    rows.extend([
        Row::new(e.title("a doubly tagged SYN leaves untagged"), from("S"), TO_BACKEND)
            .out(out("S"))
            .live(1),
        Row::new(e.title("its answer has both tags"), answer("SA"), back)
            .after([from("S")])
            .out(dressed(answered)),
        Row::new(e.title("data behind two tags"), from("PA"), TO_BACKEND)
            .after([from("S"), answer("SA"), from("A")])
            .out(out("PA"))
            .live(1),
        Row::new(e.title("two tags with priorities"), priorities, TO_BACKEND).out(out("S")).live(1),
        Row::new(e.title("two tags, for the proxy"), dressed(to_proxy), Verdict::Proxy),
    ]);
}

fn backend_side(rows: &mut Vec<Row>, e: &Ends) {
    let source = SocketAddr::new(e.double_source, FIRST_SOURCE_PORT);
    let backend = SocketAddr::new(e.double_backend, BACKEND_PORT);
    let ask = |client| tcp(Link::default(), client, e.vip(DOUBLE_PORT), "S", b"");
    let out = behind(tcp(to_backend(), source, backend, "S", b""));
    let answer = behind(tcp(from_backend(), backend, source, "SA", b""));
    let there = Verdict::Steer { ifindex: BACKEND_SIDE, vlan: DOUBLE[0] & ID };
    let answered = |client| tcp(to_client(), e.vip(DOUBLE_PORT), client, "SA", b"");
    rows.extend([
        Row::new(e.title("a backend behind two tags"), ask(e.client()), there).out(out.clone()),
        Row::new(e.title("its doubly tagged answer"), answer.clone(), super::row::TO_CLIENT)
            .after([ask(e.client())])
            .out(answered(e.client())),
        Row::new(e.title("two tags to two others"), dressed(ask(e.double_client())), there)
            .out(out),
        Row::new(
            e.title("and back"),
            answer,
            Verdict::Steer { ifindex: 1, vlan: CLIENT_DOUBLE[0] },
        )
        .after([dressed(ask(e.double_client()))])
        .out(dressed(answered(e.double_client()))),
    ]);
}

fn more(rows: &mut Vec<Row>, e: &Ends) {
    let syn = |to| tcp(tagged(5), e.client(), to, "S", b"").tagged(TAG, 6).tagged(SERVICE_TAG, 7);
    let l4 = if e.vip.is_ipv4() { 34 } else { 54 };
    let bad = dressed(e.syn()).patch(l4 + 8 + 12, &[0x40]);
    rows.extend([
        Row::drop(e.title("three tags"), syn(e.vip(TCP_PORT)), Reason::NestedVlan).live(0),
        Row::pass(e.title("a stranger's three tags"), syn(SocketAddr::new(e.stranger, TCP_PORT))),
        Row::pass(
            e.title("a stranger's two tags"),
            dressed(tcp(Link::default(), e.client(), SocketAddr::new(e.stranger, 80), "S", b"")),
        ),
        Row::drop(e.title("malformed behind two tags"), bad, Reason::BadTransportHeader).live(0),
    ]);
}
