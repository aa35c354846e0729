//! Lists, rates, challenges.

use std::net::SocketAddr;

use super::row::{Ends, Row, TO_BACKEND, to_backend};
use crate::testing::frames::Link;
use crate::{
    context::verdict::Reason,
    testing::{
        frames::{Frame, tcp},
        world::guarded::{
            CHALLENGE_PORTS, DENIED_PORT, EXCEPTED_PORT, MEMBERS_PORT, SERVICE_RATE_PORTS,
            SOURCE_RATE_PORTS,
        },
    },
};

impl Ends {
    /// The `nth` flow of the client.
    fn flow_of(&self, nth: u16) -> SocketAddr {
        let mut client = self.client();
        client.set_port(client.port() + nth);
        client
    }

    fn syn_of(&self, nth: u16, port: u16) -> Frame {
        tcp(Link::default(), self.flow_of(nth), self.vip(port), "S", b"")
    }

    /// The SYN of flow `client`, the `nth` to be opened.
    fn opened(&self, nth: u16) -> Frame {
        tcp(to_backend(), self.source(nth), self.backend(), "S", b"")
    }
}

pub(crate) fn add(rows: &mut Vec<Row>, e: &Ends) {
    lists(rows, e);
    rates(rows, e);
    challenges(rows, e);
}

fn lists(rows: &mut Vec<Row>, e: &Ends) {
    let outsider = tcp(Link::default(), e.tagged_client(), e.vip(DENIED_PORT), "S", b"");
    rows.extend([
        Row::drop(e.title("a denied network"), e.syn_of(0, DENIED_PORT), Reason::Denied).live(0),
        Row::new(e.title("a source that no list names"), outsider, TO_BACKEND)
            .out(e.opened(0))
            .live(1),
        Row::new(
            e.title("an allowed host of a denied network"),
            e.syn_of(0, EXCEPTED_PORT),
            TO_BACKEND,
        )
        .out(e.opened(0))
        .live(1),
        Row::drop(
            e.title("a source that is not among the allowed ones"),
            e.syn_of(0, MEMBERS_PORT),
            Reason::Denied,
        )
        .live(0),
    ]);
}

fn rates(rows: &mut Vec<Row>, e: &Ends) {
    let [one, other, again] = SOURCE_RATE_PORTS;
    let [shared, refused] = SERVICE_RATE_PORTS;
    let elsewhere = tcp(Link::default(), e.tagged_client(), e.vip(other), "S", b"");
    rows.extend([
        Row::drop(e.title("too soon after a source's last"), e.syn_of(1, one), Reason::SourceRate)
            .after([e.syn_of(0, one)])
            .live(1),
        Row::new(e.title("another source is measured for itself"), elsewhere, TO_BACKEND)
            .after([e.syn_of(0, other)])
            .out(e.opened(1))
            .live(2),
        Row::new(e.title("a SYN again is no new flow"), e.syn_of(0, again), TO_BACKEND)
            .after([e.syn_of(0, again)])
            .out(e.opened(0))
            .live(1),
        Row::new(e.title("a service's burst"), e.syn_of(1, shared), TO_BACKEND)
            .after([e.syn_of(0, shared)])
            .out(e.opened(1))
            .live(2),
        Row::drop(e.title("more than that"), e.syn_of(2, refused), Reason::ServiceRate)
            .after([e.syn_of(0, refused), e.syn_of(1, refused)])
            .live(2),
    ]);
}

fn challenges(rows: &mut Vec<Row>, e: &Ends) {
    let [_, quiet, few, known] = CHALLENGE_PORTS;
    let to_vip = |port, flags| tcp(Link::default(), e.client(), e.vip(port), flags, b"");
    let answer = tcp(super::row::from_backend(), e.backend(), e.source(0), "SA", b"");
    // It acknowledges what the answer began with: its sequence number and one.
    let acknowledges = to_vip(known, "A").acknowledging(1001);
    rows.extend([
        Row::drop(e.title("RST while nobody attacks"), to_vip(quiet, "R"), Reason::UnknownFlow)
            .live(0),
        Row::new(e.title("few enough are not challenged"), e.syn_of(0, few), TO_BACKEND)
            .out(e.opened(0))
            .live(1),
        Row::new(e.title("who has had a handshake is not"), e.syn_of(3, known), TO_BACKEND)
            .after([to_vip(known, "S"), answer, acknowledges])
            .after([e.syn_of(1, known), e.syn_of(2, known)])
            .out(e.opened(3))
            .live(4),
    ]);
}
