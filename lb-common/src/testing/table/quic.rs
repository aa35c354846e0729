//! QUIC datagrams that come from another address than their connection's before.

use std::net::SocketAddr;

use super::row::{Ends, Row, TO_BACKEND, TO_CLIENT, from_backend, to_backend, to_client};
use crate::testing::frames::Link;
use crate::testing::{
    frames::{Frame, udp},
    world::{BACKEND_PORT, QUIC_BACKEND_PORT, QUIC_GONE, QUIC_PORT, QUIC_SERVER, UDP_PORT},
};

/// RFC 9000 and RFC 9369.
const VERSIONS: [(&str, [u8; 4]); 2] = [("v1", [0, 0, 0, 1]), ("v2", [0x6b, 0x33, 0x43, 0xcf])];
/// What follows in a packet: number, data, tag.
const SEALED: [u8; 24] = [0x5e; 24];

/// An id of eight bytes: how it was made, the server, a nonce.
fn id(first: u8, server: [u8; 3]) -> Vec<u8> {
    [&[first], &server[..], &[9, 8, 7, 6]].concat()
}

fn short(id: &[u8]) -> Vec<u8> {
    [&[0x43], id, &SEALED].concat()
}

fn long(kind: u8, version: [u8; 4], id: &[u8]) -> Vec<u8> {
    let source = [&[4], &[1, 2, 3, 4][..]].concat();
    [&[0xc0 | kind << 4], &version[..], &[id.len() as u8], id, &source, &SEALED].concat()
}

pub(crate) fn add(rows: &mut Vec<Row>, e: &Ends) {
    named(rows, e);
    not_named(rows, e);
    held(rows, e);
}

impl Ends {
    fn quic(&self, payload: &[u8]) -> Frame {
        udp(Link::default(), self.client(), self.vip(QUIC_PORT), payload)
    }

    fn quic_out(&self, port: u16, payload: &[u8]) -> Frame {
        udp(to_backend(), self.source(0), SocketAddr::new(self.backend, port), payload)
    }
}

fn named(rows: &mut Vec<Row>, e: &Ends) {
    let id = id(0x07, QUIC_SERVER);
    let mut packets = vec![("a short header".to_owned(), short(&id))];
    for (name, version) in VERSIONS {
        packets.push((format!("a long header of {name}"), long(2, version, &id)));
        packets.push((format!("an Initial of {name} with the server's id"), long(0, version, &id)));
    }
    packets
        .push(("an id of 20 bytes".into(), long(2, [0, 0, 0, 1], &[&id[..], &[1; 12]].concat())));
    for (name, packet) in packets {
        let title = e.title(&format!("{name} leads to its server"));
        let out = e.quic_out(QUIC_BACKEND_PORT, &packet);
        rows.push(Row::new(title, e.quic(&packet), TO_BACKEND).out(out).live(1));
    }
    let (dress, name): (fn(Frame) -> Frame, _) = if e.vip.is_ipv4() {
        (|frame| frame.with_options(&[1; 8]), "options")
    } else {
        (|frame| frame.with_extension(60, &[0, 1, 4, 0, 0, 0, 0]), "an extension header")
    };
    let out = dress(e.quic_out(QUIC_BACKEND_PORT, &short(&id)));
    let title = e.title(&format!("a connection id behind {name}"));
    rows.push(Row::new(title, dress(e.quic(&short(&id))), TO_BACKEND).out(out).live(1));
}

/// The strategy chooses.
fn not_named(rows: &mut Vec<Row>, e: &Ends) {
    let of_server = id(0x07, QUIC_SERVER);
    let packets = [
        ("an Initial with a random id", long(0, [0, 0, 0, 1], &[0x11; 8])),
        ("an id of no server", short(&id(0x07, [1, 2, 3]))),
        ("an id of a server that is gone", short(&id(0x07, QUIC_GONE))),
        ("an id by another configuration", short(&id(0x27, QUIC_SERVER))),
        ("an id by no configuration", short(&id(0xe7, QUIC_SERVER))),
        ("an id that is too short", long(0, [0, 0, 0, 1], &of_server[..3])),
        ("a connection without an id", long(0, [0, 0, 0, 1], &[])),
        ("a packet that is too short", short(&of_server)[..16].to_vec()),
        ("a byte", vec![0x40]),
        ("nothing", Vec::new()),
    ];
    for (name, packet) in packets {
        let title = e.title(&format!("{name} leads where new connections do"));
        let out = e.quic_out(BACKEND_PORT, &packet);
        rows.push(Row::new(title, e.quic(&packet), TO_BACKEND).out(out).live(1));
    }
    let packet = short(&of_server);
    let other = udp(Link::default(), e.client(), e.vip(UDP_PORT), &packet);
    rows.push(
        Row::new(e.title("a service without QUIC does not look at ids"), other, TO_BACKEND)
            .out(e.quic_out(BACKEND_PORT, &packet))
            .live(1),
    );
}

fn held(rows: &mut Vec<Row>, e: &Ends) {
    let (first, moved) = (long(0, [0, 0, 0, 1], &[0x11; 8]), short(&id(0x07, QUIC_SERVER)));
    let server = SocketAddr::new(e.backend, QUIC_BACKEND_PORT);
    // The second flow has the next source port.
    let later = |packet: &[u8]| udp(to_backend(), e.source(1), server, packet);
    let answer =
        udp(from_backend(), SocketAddr::new(e.backend, BACKEND_PORT), e.source(0), b"hello");
    for (name, before) in [
        ("half-open", vec![e.quic(&first)]),
        ("established", vec![e.quic(&first), answer, e.quic(&first)]),
    ] {
        let title = e.title(&format!("the id wins over its {name} flow"));
        let wins = Row::new(title, e.quic(&moved), TO_BACKEND).after(before.clone());
        rows.push(wins.out(later(&moved)).live(1));
        let title = e.title(&format!("the next packet after an id won over its {name} flow"));
        let next =
            Row::new(title, e.quic(&first), TO_BACKEND).after(before).after([e.quic(&moved)]);
        rows.push(next.out(later(&first)).live(1));
    }
    let named = udp(from_backend(), server, e.source(0), b"hello");
    let title = e.title("an established flow's own id");
    rows.push(
        Row::new(title, e.quic(&moved), TO_BACKEND)
            .after([e.quic(&moved), named, e.quic(&moved)])
            .out(e.quic_out(QUIC_BACKEND_PORT, &moved))
            .live(1),
    );
    let fallen = short(&id(0x07, QUIC_GONE));
    let title = e.title("an id of a server that is gone does not win");
    rows.push(
        Row::new(title, e.quic(&fallen), TO_BACKEND)
            .after([e.quic(&first)])
            .out(e.quic_out(BACKEND_PORT, &fallen))
            .live(1),
    );
    rows.extend([
        Row::new(
            e.title("an id that names nobody goes where its flow does"),
            e.quic(&first),
            TO_BACKEND,
        )
        .after([e.quic(&moved)])
        .out(e.quic_out(QUIC_BACKEND_PORT, &first))
        .live(1),
        Row::new(
            e.title("the named server's answer"),
            udp(from_backend(), server, e.source(0), &moved),
            TO_CLIENT,
        )
        .after([e.quic(&moved)])
        .out(udp(to_client(), e.vip(QUIC_PORT), e.client(), &moved)),
    ]);
}
