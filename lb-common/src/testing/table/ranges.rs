//! Ports that are declared by ranges.

use std::net::SocketAddr;

use super::row::{Ends, Row, TO_BACKEND, TO_CLIENT, from_backend, to_backend, to_client};
use crate::context::verdict::Verdict;
use crate::testing::frames::Link;
use crate::{
    context::verdict::Reason,
    testing::{
        frames::{icmp_error, tcp, udp},
        world::{PROXY_IN_RANGE, PROXY_RANGE, RANGE, TCP_IN_RANGE},
    },
};

pub(crate) fn add(rows: &mut Vec<Row>, e: &Ends) {
    steered(rows, e);
    others(rows, e);
}

fn steered(rows: &mut Vec<Row>, e: &Ends) {
    let syn = |port| tcp(Link::default(), e.client(), e.vip(port), "S", b"");
    let asked = |port| SocketAddr::new(e.backend, port);
    for port in [*RANGE.start(), 3007, 3008, 3083, 3584, 3967, *RANGE.end()] {
        let answer = tcp(from_backend(), asked(port), e.source(0), "SA", b"");
        let name = |text: &str| e.title(&format!("port {port} of a range{text}"));
        rows.extend([
            Row::new(name(""), syn(port), TO_BACKEND)
                .out(tcp(to_backend(), e.source(0), asked(port), "S", b""))
                .live(1),
            Row::new(name(", answered"), answer, TO_CLIENT).after([syn(port)]).out(tcp(
                to_client(),
                e.vip(port),
                e.client(),
                "SA",
                b"",
            )),
        ]);
    }
    rows.push(
        Row::new(e.title("a port of a range with its own entry"), syn(TCP_IN_RANGE), TO_BACKEND)
            .out(tcp(to_backend(), e.source(0), e.backend(), "S", b""))
            .live(1),
    );
}

fn others(rows: &mut Vec<Row>, e: &Ends) {
    let syn = |port| tcp(Link::default(), e.client(), e.vip(port), "S", b"");
    let proxy = |text: &str, port| Row::new(e.title(text), syn(port), Verdict::Proxy).live(0);
    let drop = |text: &str, frame| Row::drop(e.title(text), frame, Reason::UndeclaredPort).live(0);
    let quoted = tcp(Link::default(), e.vip(*PROXY_RANGE.end()), e.client(), "A", b"data");
    let kind = if e.vip.is_ipv4() { [3, 4] } else { [2, 0] };
    let error = icmp_error(Link::default(), e.stranger, e.vip, kind, &quoted);
    rows.extend([
        proxy("a port with handlers within a range", PROXY_IN_RANGE),
        proxy("the first port of a range with handlers", *PROXY_RANGE.start()),
        proxy("the last port of a range with handlers", *PROXY_RANGE.end()),
        Row::new(e.title("an ICMP error about a range with handlers"), error, Verdict::Proxy),
        drop("the port before a range", syn(*RANGE.start() - 1)),
        drop("the port after two ranges", syn(*PROXY_RANGE.end() + 1)),
        drop(
            "UDP to a range of TCP",
            udp(Link::default(), e.client(), e.vip(*RANGE.start()), b"x"),
        ),
        Row::pass(
            e.title("the same port of somebody else"),
            tcp(Link::default(), e.client(), SocketAddr::new(e.stranger, 3000), "S", b""),
        ),
    ]);
}
