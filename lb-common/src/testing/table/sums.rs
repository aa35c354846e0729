//! Segments whose checksum comes out as zero, which each protocol writes in its own way: TCP as it
//! is, UDP as all ones, since zero stands for none there (RFC 768).

use super::row::{Ends, Row, TO_BACKEND, TO_CLIENT, from_backend, to_backend, to_client};
use crate::testing::frames::Link;
use crate::testing::{
    frames::{Frame, tcp, udp},
    world::{TCP_PORT, UDP_PORT},
};

pub(crate) fn add(rows: &mut Vec<Row>, e: &Ends) {
    let l4 = if e.vip.is_ipv4() { 34 } else { 54 };
    let segment = |data: [u8; 2]| {
        let asked = tcp(Link::default(), e.client(), e.vip(TCP_PORT), "PA", &data);
        (asked, tcp(to_backend(), e.source(0), e.backend(), "PA", &data))
    };
    let answer = |data: [u8; 2]| {
        let asked = tcp(from_backend(), e.backend(), e.source(0), "PA", &data);
        (asked, tcp(to_client(), e.vip(TCP_PORT), e.client(), "PA", &data))
    };
    let datagram = |data: [u8; 2]| {
        let asked = udp(Link::default(), e.client(), e.vip(UDP_PORT), &data);
        (asked, udp(to_backend(), e.source(0), e.backend(), &data))
    };
    let reply = |data: [u8; 2]| {
        let asked = udp(from_backend(), e.backend(), e.source(0), &data);
        (asked, udp(to_client(), e.vip(UDP_PORT), e.client(), &data))
    };
    let query = udp(Link::default(), e.client(), e.vip(UDP_PORT), b"query");
    for (name, make, check, zero, first, verdict) in [
        ("TCP to the backend", &segment as &Make, l4 + 16, [0, 0], e.syn(), TO_BACKEND),
        ("TCP to the client", &answer, l4 + 16, [0, 0], e.syn(), TO_CLIENT),
        ("UDP to the backend", &datagram, l4 + 6, [0xff, 0xff], query.clone(), TO_BACKEND),
        ("UDP to the client", &reply, l4 + 6, [0xff, 0xff], query, TO_CLIENT),
    ] {
        // Data that is the checksum without it makes the sum zero.
        let (_, without) = make([0, 0]);
        let (frame, out) = make([without.0[check], without.0[check + 1]]);
        assert_eq!(out.0[check..check + 2], zero, "{name}");
        let title = e.title(&format!("{name}, whose checksum comes out as zero"));
        rows.push(Row::new(title, frame, verdict).after([first]).out(out));
    }
}

type Make<'a> = dyn Fn([u8; 2]) -> (Frame, Frame) + 'a;
