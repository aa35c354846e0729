//! Echo, errors about flows, and the rest of ICMP.

use super::row::{
    Ends, Row, TO_BACKEND, TO_CLIENT, from_backend, tagged, to_backend, to_client, ttl,
};
use crate::context::verdict::Verdict;
use crate::testing::frames::Link;
use crate::{
    context::verdict::Reason,
    testing::{
        frames::{
            CLIENT_MAC, Frame, OUR_MAC, echo_reply, echo_request, icmp, icmp_error, tcp, udp,
        },
        world::{TCP_PORT, UDP_PORT},
    },
};

pub(crate) fn add(rows: &mut Vec<Row>, ends: &Ends) {
    echo(rows, ends);
    errors(rows, ends);
    refused(rows, ends);
    if ends.vip.is_ipv6() {
        discovery(rows, ends);
    }
}

fn echo(rows: &mut Vec<Row>, e: &Ends) {
    let back = Link { src_mac: OUR_MAC, dst_mac: CLIENT_MAC, vlan: None, ttl: 64 };
    let tagged_back = Link { vlan: Some(30), ..back };
    rows.extend([
        Row::new(
            e.title("echo is answered"),
            echo_request(ttl(9), e.client, e.vip),
            Verdict::Reply,
        )
        .out(echo_reply(back, e.vip, e.client)),
        Row::new(
            e.title("tagged echo is answered tagged"),
            echo_request(tagged(30), e.client, e.vip),
            Verdict::Reply,
        )
        .out(echo_reply(tagged_back, e.vip, e.client)),
    ]);
    let (asked, told) = if e.vip.is_ipv4() { ([8, 0], [0, 0]) } else { ([128, 0], [129, 0]) };
    for (name, body) in [
        ("of nothing but zeros", &[0; 4][..]),
        ("of nothing but zeros, with data", &[0; 24]),
        ("whose reply adds up to minus zero", &[0xff, 0xff, 0, 0]),
        ("that begins with zeros", &[0, 0, 0, 0, 1]),
    ] {
        let request = icmp(Link::default(), e.client, e.vip, asked, body);
        let reply = icmp(back, e.vip, e.client, told, body);
        let title = e.title(&format!("an echo request {name}"));
        rows.push(Row::new(title, request, Verdict::Reply).out(reply));
    }
}

/// What a router says of a packet too large, or unreachable, in the family's own numbers.
fn kinds(e: &Ends) -> [[u8; 2]; 2] {
    if e.vip.is_ipv4() { [[3, 4], [3, 3]] } else { [[2, 0], [1, 4]] }
}

fn errors(rows: &mut Vec<Row>, e: &Ends) {
    let [too_big, unreachable] = kinds(e);
    let to_us = |kind, quoted: &Frame| icmp_error(Link::default(), e.stranger, e.vip, kind, quoted);
    let sent = tcp(ttl(60), e.vip(TCP_PORT), e.client(), "PA", b"data");
    let sent_as_backend = tcp(ttl(60), e.backend(), e.source(0), "PA", b"data");
    let asked = udp(ttl(60), e.vip(UDP_PORT), e.client(), b"answer");
    let asked_as_backend = udp(ttl(60), e.backend(), e.source(0), b"answer");
    let forwarded = tcp(ttl(60), e.source(0), e.backend(), "PA", b"data");
    let forwarded_as_client = tcp(ttl(60), e.client(), e.vip(TCP_PORT), "PA", b"data");
    rows.extend([
        Row::new(
            e.title("packet too big about TCP goes to the backend"),
            to_us(too_big, &sent),
            TO_BACKEND,
        )
        .after([e.syn()])
        .out(quoting(to_backend(), e, too_big, &sent_as_backend, Towards::Backend))
        .live(1),
        Row::new(
            e.title("unreachable about UDP goes to the backend"),
            to_us(unreachable, &asked),
            TO_BACKEND,
        )
        .after([e.datagram(b"query")])
        .out(quoting(to_backend(), e, unreachable, &asked_as_backend, Towards::Backend)),
        Row::new(
            e.title("an error from the backends' side goes to the client"),
            icmp_error(from_backend(), e.stranger, e.source, too_big, &forwarded),
            TO_CLIENT,
        )
        .after([e.syn()])
        .out(quoting(to_client(), e, too_big, &forwarded_as_client, Towards::Client)),
        Row::drop(
            e.title("an error at its last hop"),
            icmp_error(ttl(1), e.stranger, e.vip, too_big, &sent),
            Reason::TtlExceeded,
        )
        .after([e.syn()]),
    ]);
}

enum Towards {
    Backend,
    Client,
}

/// The error as it leaves us. The quoted TCP checksum, if any, is as the other side sent it.
fn quoting(link: Link, e: &Ends, kind: [u8; 2], quoted: &Frame, towards: Towards) -> Frame {
    match towards {
        Towards::Backend => icmp_error(link, e.source, e.backend, kind, quoted),
        Towards::Client => icmp_error(link, e.vip, e.client, kind, quoted),
    }
}

fn refused(rows: &mut Vec<Row>, e: &Ends) {
    let [too_big, _] = kinds(e);
    let link = Link::default;
    let sent = tcp(link(), e.vip(TCP_PORT), e.client(), "PA", b"data");
    let foreign = tcp(link(), e.backend(), e.client(), "PA", b"data");
    let error = |quoted| icmp_error(link(), e.stranger, e.vip, too_big, quoted);
    let header = if e.vip.is_ipv4() { 20 } else { 40 };
    rows.extend([
        Row::drop(
            e.title("echo reply"),
            echo_reply(link(), e.client, e.vip),
            Reason::IcmpUnsupported,
        ),
        Row::drop(e.title("an error about no flow"), error(&sent), Reason::IcmpUnknownFlow),
        Row::drop(
            e.title("an error about what we did not send"),
            error(&foreign),
            Reason::IcmpUnknownFlow,
        )
        .after([e.syn()]),
        Row::drop(
            e.title("an error that quotes too little"),
            error(&sent).cut(14 + header + 8 + header),
            Reason::Truncated,
        )
        .after([e.syn()]),
        Row::drop(
            e.title("an error that says it quotes too little"),
            icmp(link(), e.stranger, e.vip, too_big, &[[0; 4], [0x45; 4]].concat()),
            Reason::IcmpUnknownFlow,
        )
        .after([e.syn()]),
    ]);
}

fn discovery(rows: &mut Vec<Row>, e: &Ends) {
    let solicitation = icmp(Link::default(), e.client, e.vip, [135, 0], &[0; 20]);
    rows.push(Row::pass(e.title("neighbour discovery is the host's"), solicitation));
}
