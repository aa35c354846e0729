//! What we must not touch: the host's own traffic, and the proxy's.

use std::net::SocketAddr;

use super::{Ends, Link, Row, Verdict, from_backend, tagged, ttl};
use crate::testing::{
    frames::{Frame, arp, echo_request, icmp_error, other_protocol, tcp, udp},
    world::PROXY_PORT,
};

pub(super) fn add(rows: &mut Vec<Row>, ends: &Ends) {
    for_the_proxy(rows, ends);
    for_the_host(rows, ends);
}

fn for_the_proxy(rows: &mut Vec<Row>, e: &Ends) {
    let to_proxy = |link, flags: &str| tcp(link, e.client(), e.vip(PROXY_PORT), flags, b"");
    let row = |text: &str, frame| Row::new(e.title(text), frame, Verdict::Proxy).live(0);
    let quoted = tcp(Link::default(), e.vip(PROXY_PORT), e.client(), "A", b"data");
    let kind = if e.vip.is_ipv4() { [3, 4] } else { [2, 0] };
    rows.extend([
        row("SYN to a port with handlers", to_proxy(Link::default(), "S")),
        row("ACK to a port with handlers", to_proxy(Link::default(), "A")),
        row("tagged, to a port with handlers", to_proxy(tagged(30), "S")),
        row("at its last hop, to a port with handlers", to_proxy(ttl(1), "S")),
        row(
            "an ICMP error about the proxy's packet",
            icmp_error(Link::default(), e.stranger, e.vip, kind, &quoted),
        ),
    ]);
}

fn for_the_host(rows: &mut Vec<Row>, e: &Ends) {
    let stranger = |port| SocketAddr::new(e.stranger, port);
    let own = SocketAddr::new(e.source, 22);
    let link = Link::default;
    let row = |text: &str, frame| Row::pass(e.title(text), frame);
    let quoted = tcp(link(), SocketAddr::new(e.source, 40000), e.backend(), "A", b"data");
    let kind = if e.vip.is_ipv4() { [3, 1] } else { [1, 0] };
    rows.extend([
        row("TCP to the host", tcp(link(), e.client(), own, "S", b"")),
        row("TCP to somebody else", tcp(link(), e.client(), stranger(80), "S", b"")),
        row("tagged TCP to somebody else", tcp(tagged(5), e.client(), stranger(80), "S", b"")),
        row("UDP to somebody else", udp(link(), e.client(), stranger(53), b"x")),
        row("echo to somebody else", echo_request(link(), e.client, e.stranger)),
        row("GRE to somebody else", other_protocol(link(), e.client, e.stranger, 47)),
        row("truncated TCP to somebody else", {
            let frame = tcp(link(), e.client(), stranger(80), "S", b"");
            let length = frame.0.len() - 6;
            frame.cut(length)
        }),
        row("two tags around a stranger's packet", {
            tcp(tagged(5), e.client(), stranger(80), "S", b"").tagged(0x88a8, 7)
        }),
        row(
            "a backend's packet of no flow of ours",
            tcp(from_backend(), e.backend(), own, "SA", b""),
        ),
        row(
            "an ICMP error about the host's own packet",
            icmp_error(from_backend(), e.stranger, e.source, kind, &quoted),
        ),
    ]);
}

pub(super) fn add_not_ip(rows: &mut Vec<Row>) {
    let lldp = Frame(vec![0; 60]).patch(12, &[0x88, 0xcc]);
    rows.extend([
        Row::pass("ARP", arp()),
        Row::pass("LLDP", lldp),
        Row::pass("an Ethernet header alone", arp().cut(14)),
        Row::pass("half an IPv4 header", Frame(vec![0; 24]).patch(12, &[8, 0, 0x45])),
        Row::pass("half an IPv6 header", Frame(vec![0; 40]).patch(12, &[0x86, 0xdd, 0x60])),
        Row::pass("a VLAN tag and nothing after it", Frame(vec![0; 16]).patch(12, &[0x81, 0])),
    ]);
}
