//! What we must not touch: the host's own traffic, and the proxy's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::row::{Ends, Row, from_backend, tagged, ttl};
use crate::context::verdict::Verdict;
use crate::testing::frames::Link;
use crate::{
    context::verdict::Reason,
    testing::{
        frames::{
            Frame, arp, arp_about, echo_request, icmp, icmp_error, other_protocol, solicitation,
            tcp, udp,
        },
        world::PROXY_PORT,
    },
};

pub(crate) fn add(rows: &mut Vec<Row>, ends: &Ends) {
    for_the_proxy(rows, ends);
    for_the_host(rows, ends);
    match (ends.client, ends.vip, ends.silent) {
        (IpAddr::V4(client), IpAddr::V4(vip), IpAddr::V4(silent)) => {
            asked_by_arp(rows, client, [vip, silent]);
        }
        (IpAddr::V6(client), IpAddr::V6(vip), IpAddr::V6(silent)) => {
            solicited(rows, client, [vip, silent]);
        }
        _ => unreachable!("one family"),
    }
}

/// Who asks for an address is answered by the host's stack, or not at all.
fn asked_by_arp(rows: &mut Vec<Row>, client: Ipv4Addr, [vip, silent]: [Ipv4Addr; 2]) {
    let ask = |target| arp_about(1, client, target);
    let drop = |text: &str, frame| Row::drop(text, frame, Reason::NotAnswered);
    rows.extend([
        Row::pass("ARP asks for an announced address", ask(vip)),
        Row::pass("ARP asks for somebody else's address", ask(client)),
        drop("ARP asks for one that is not answered for", ask(silent)),
        drop("the same behind a tag", ask(silent).tagged(0x8100, 30)),
        drop("the same behind two", ask(silent).tagged(0x8100, 41).tagged(0x88a8, 40)),
        drop("the same over IEEE 802", ask(silent).patch(14, &[0, 6])),
        drop("the same in a frame as long as Ethernet wants", ask(silent).padded(60)),
        Row::pass("the same behind three tags", {
            let frame = ask(silent).tagged(0x8100, 42).tagged(0x8100, 41);
            frame.tagged(0x88a8, 40)
        }),
        Row::pass("an ARP answer to one that is not answered for", arp_about(2, client, silent)),
        Row::pass("an ARP request that is cut short", ask(silent).cut(41)),
        Row::pass("a request for another protocol", ask(silent).patch(16, &[0x86, 0xdd])),
    ]);
}

fn solicited(rows: &mut Vec<Row>, client: Ipv6Addr, [vip, silent]: [Ipv6Addr; 2]) {
    let group = |of: Ipv6Addr| {
        let [.., a, b, c] = of.octets();
        let (a, b) = (0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, a, b)
    };
    let any = Ipv6Addr::UNSPECIFIED;
    let ask = |dst, target| solicitation(Link::default(), client, dst, target);
    let drop = |text: &str, frame| Row::drop(text, frame, Reason::NotAnswered);
    let advertisement = [&[0x20, 0, 0, 0][..], &silent.octets()].concat();
    rows.extend([
        Row::pass("a solicitation of an announced address", ask(group(vip), vip)),
        Row::pass("whether an announced address is still there", ask(vip, vip)),
        drop("a solicitation of one that is not answered for", ask(group(silent), silent)),
        drop("whether one that is not answered for is still there", ask(silent, silent)),
        drop(
            "whether anybody has one that is not answered for",
            solicitation(Link::default(), any, group(silent), silent),
        ),
        drop(
            "a solicitation behind a tag",
            solicitation(tagged(30), client, group(silent), silent),
        ),
        Row::pass(
            "an advertisement to one that is not answered for",
            icmp(ttl(255), client.into(), silent.into(), [136, 0], &advertisement),
        ),
        Row::pass(
            "a solicitation that is cut short",
            icmp(ttl(255), client.into(), group(silent).into(), [135, 0], &[0; 16]),
        ),
    ]);
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

pub(crate) fn add_not_ip(rows: &mut Vec<Row>) {
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
