//! Packets to backends that answer directly, packets too large, and the size of segments.

use super::row::{Ends, Row, TO_BACKEND, TO_CLIENT, from_backend, to_backend, to_client};
use crate::context::verdict::Verdict;
use crate::testing::frames::Link;
use crate::{
    abi::{Address, FlowKey},
    context::verdict::Reason,
    testing::{
        frames::{CLIENT_MAC, Frame, OUR_MAC, TUNNEL_PORT, icmp_error, tcp, udp},
        tunnels::{Outer, gue, ipip, too_big},
        world::{
            self, BACKENDS, SOURCES,
            modes::{
                CLAMPED_MSS, CLAMPED_PORT, GUE_OTHER_PORT, GUE_PORT, IPIP_OTHER_PORT, IPIP_PORT,
                L2_PORT, NARROW_CLIENTS, NARROW_MTU, NARROW_PORT,
            },
        },
    },
};

pub(crate) fn add(rows: &mut Vec<Row>, e: &Ends) {
    layer2(rows, e);
    for port in [IPIP_PORT, IPIP_OTHER_PORT, GUE_PORT, GUE_OTHER_PORT] {
        tunnel(rows, e, &Tunnel::new(e, port));
    }
    without_checksum(rows, e);
    errors(rows, e);
    elsewhere(rows, e);
    oversize(rows, e);
    oversize_answers(rows, e);
    segments(rows, e);
}

/// One hop later, as a backend gets it that has the address itself.
fn segment(e: &Ends, link: Link, port: u16, flags: &str, payload: &[u8]) -> Frame {
    tcp(link, e.client(), e.vip(port), flags, payload)
}

fn datagram(e: &Ends, link: Link, port: u16, payload: &[u8]) -> Frame {
    udp(link, e.client(), e.vip(port), payload)
}

/// What goes round the packets of a service.
struct Tunnel {
    port: u16,
    name: &'static str,
    outer: usize,
    is_gue: bool,
}

impl Tunnel {
    fn new(e: &Ends, port: u16) -> Self {
        let family = usize::from(e.vip.is_ipv6());
        let (name, outer, is_gue) = match port {
            IPIP_PORT => ("ipip", family, false),
            IPIP_OTHER_PORT => ("ipip of the other family", 1 - family, false),
            GUE_PORT => ("gue", family, true),
            _ => ("gue of the other family", 1 - family, true),
        };
        Self { port, name, outer, is_gue }
    }

    /// The bits of the flow's hash that show: a source port, a flow label, an outer source.
    fn around(&self, e: &Ends, protocol: u32, class: u8, inner: &Frame) -> Frame {
        let key = FlowKey {
            src: Address::of(e.client),
            dst: Address::of(e.vip),
            src_port: e.client().port().to_be_bytes(),
            dst_port: self.port.to_be_bytes(),
            protocol,
        };
        let hash = key.hash() as u16;
        let source_port = hash | 0xc000;
        let link = Link { ttl: 64, ..to_backend() };
        let dst = world::ip(BACKENDS[self.outer]);
        let src = world::ip(SOURCES[self.outer]);
        let outer = Outer { src, dst, class, label: source_port };
        if self.is_gue {
            return gue(link, outer, [source_port, TUNNEL_PORT], inner);
        }
        ipip(link, Outer { src: spread(src, hash), ..outer }, inner)
    }
}

/// The address with other last sixteen bits.
fn spread(address: std::net::IpAddr, last: u16) -> std::net::IpAddr {
    let mut bytes = Address::of(address).bytes();
    bytes[14..].copy_from_slice(&last.to_be_bytes());
    match address {
        std::net::IpAddr::V4(_) => {
            std::net::IpAddr::from([bytes[12], bytes[13], bytes[14], bytes[15]])
        }
        std::net::IpAddr::V6(_) => bytes.into(),
    }
}

fn layer2(rows: &mut Vec<Row>, e: &Ends) {
    let row = |text: &str, frame| Row::new(e.title(text), frame, TO_BACKEND);
    let come = |flags, payload: &[u8]| segment(e, Link::default(), L2_PORT, flags, payload);
    let gone = |flags, payload: &[u8]| segment(e, to_backend(), L2_PORT, flags, payload);
    rows.extend([
        row("l2: SYN leaves as it came", come("S", b"")).out(gone("S", b"")).live(1),
        row("l2: data of a known flow", come("PA", b"odd"))
            .after([come("S", b""), come("A", b"")])
            .out(gone("PA", b"odd"))
            .live(1),
        row("l2: a flow's middle, come from another node", come("A", b""))
            .out(gone("A", b""))
            .live(1),
        row("l2: a datagram", datagram(e, Link::default(), L2_PORT, b"query"))
            .out(datagram(e, to_backend(), L2_PORT, b"query"))
            .live(1),
    ]);
}

fn tunnel(rows: &mut Vec<Row>, e: &Ends, tunnel: &Tunnel) {
    let odd = b"seventeen bytes!!";
    let title = |text: &str| e.title(&format!("{}: {text}", tunnel.name));
    let row = |text: &str, frame| Row::new(title(text), frame, TO_BACKEND);
    let come = |flags, payload: &[u8]| segment(e, Link::default(), tunnel.port, flags, payload);
    let inner = Link { ttl: 63, ..Link::default() };
    let gone = |flags, payload: &[u8]| {
        tunnel.around(e, 6, 0, &segment(e, inner, tunnel.port, flags, payload))
    };
    let known = || [come("S", b""), come("A", b"")];
    let marked = segment(e, inner, tunnel.port, "A", odd).classed(0xbb);
    rows.extend([
        row("SYN", come("S", b"")).out(gone("S", b"")).live(1),
        row("data of a known flow", come("PA", odd)).after(known()).out(gone("PA", odd)).live(1),
        row("a padded short frame", come("A", b"").padded(110))
            .after(known())
            .out(gone("A", b"").padded(110 + gone("A", b"").0.len() - come("A", b"").0.len())),
        row("DSCP and ECN outside as inside", come("A", odd).classed(0xbb))
            .after(known())
            .out(tunnel.around(e, 6, 0xbb, &marked)),
        row("FIN of the client alone", come("FA", b"")).after(known()).out(gone("FA", b"")).live(1),
        row("RST of the client closes", come("R", b"")).after(known()).out(gone("R", b"")).live(0),
        row("a datagram", datagram(e, Link::default(), tunnel.port, odd))
            .out(tunnel.around(e, 17, 0, &datagram(e, inner, tunnel.port, odd)))
            .live(1),
        row("the next datagram", datagram(e, Link::default(), tunnel.port, b""))
            .after([datagram(e, Link::default(), tunnel.port, odd)])
            .out(tunnel.around(e, 17, 0, &datagram(e, inner, tunnel.port, b"")))
            .live(1),
        Row::drop(
            title("at its last hop"),
            segment(e, super::row::ttl(1), tunnel.port, "S", b""),
            Reason::TtlExceeded,
        )
        .live(0),
    ]);
}

/// The sum over what cannot be known is not written down.
fn without_checksum(rows: &mut Vec<Row>, e: &Ends) {
    let l4 = if e.vip.is_ipv4() { 34 } else { 54 };
    for port in [GUE_PORT, GUE_OTHER_PORT] {
        let tunnel = Tunnel::new(e, port);
        let outer = if tunnel.outer == 0 { 34 } else { 54 };
        let mut push = |text: &str, spoil: &dyn Fn(Frame) -> Frame| {
            let come = spoil(datagram(e, Link::default(), port, b"a query"));
            let inner = spoil(datagram(e, Link { ttl: 63, ..Link::default() }, port, b"a query"));
            let out = tunnel.around(e, 17, 0, &inner).patch(outer + 6, &[0, 0]);
            let name = e.title(&format!("{}: {text}", tunnel.name));
            rows.push(Row::new(name, come, TO_BACKEND).out_unverified(out).live(1));
        };
        push("a datagram shorter than its packet", &|frame| frame.patch(l4 + 4, &[0, 14]));
        if e.vip.is_ipv4() {
            push("a datagram without a checksum", &|frame| frame.patch(l4 + 6, &[0, 0]));
        }
    }
}

/// What routers say of a backend's answers goes to that backend as it came.
fn errors(rows: &mut Vec<Row>, e: &Ends) {
    let kind = if e.vip.is_ipv4() { [3, 4] } else { [2, 0] };
    for port in [L2_PORT, IPIP_PORT, IPIP_OTHER_PORT, GUE_PORT, GUE_OTHER_PORT] {
        let sent = tcp(super::row::ttl(60), e.vip(port), e.client(), "PA", b"data");
        let error = |link| icmp_error(link, e.stranger, e.vip, kind, &sent);
        let inner = error(Link { ttl: 63, ..Link::default() });
        let name = e.title(&format!("packet too big about an answer, port {port}"));
        let row = Row::new(name, error(Link::default()), TO_BACKEND).after([segment(
            e,
            Link::default(),
            port,
            "S",
            b"",
        )]);
        let tunnel = Tunnel::new(e, port);
        let row = if port == L2_PORT {
            row.out(error(to_backend()))
        } else if tunnel.is_gue {
            let outer = if tunnel.outer == 0 { 34 } else { 54 };
            row.out_unverified(tunnel.around(e, 6, 0, &inner).patch(outer + 6, &[0, 0]))
        } else {
            row.out(tunnel.around(e, 6, 0, &inner))
        };
        rows.push(row.live(1));
    }
}

/// The middle and the end of a flow that another node knows, and errors about it: all go where its
/// data goes.
fn elsewhere(rows: &mut Vec<Row>, e: &Ends) {
    let kind = if e.vip.is_ipv4() { [3, 4] } else { [2, 0] };
    let inside = Link { ttl: 63, ..Link::default() };
    for port in [L2_PORT, IPIP_PORT, IPIP_OTHER_PORT, GUE_PORT, GUE_OTHER_PORT] {
        let tunnel = Tunnel::new(e, port);
        let mut push = |text: &str, frame: Frame, out: Frame, live| {
            let name = e.title(&format!("{text} of another node's flow, port {port}"));
            rows.push(Row::new(name, frame, TO_BACKEND).out_unverified(out).live(live));
        };
        for (text, flags, live) in
            [("FIN", "FA", 1), ("a bare FIN", "F", 1), ("RST", "R", 0), ("RST and ACK", "RA", 0)]
        {
            let out = match port {
                L2_PORT => segment(e, to_backend(), port, flags, b""),
                _ => tunnel.around(e, 6, 0, &segment(e, inside, port, flags, b"")),
            };
            push(text, segment(e, Link::default(), port, flags, b""), out, live);
        }
        let segment = tcp(super::row::ttl(60), e.vip(port), e.client(), "PA", b"data");
        let datagram = udp(super::row::ttl(60), e.vip(port), e.client(), b"answer");
        for (text, protocol, sent) in
            [("an error about TCP", 6, &segment), ("about UDP", 17, &datagram)]
        {
            let error = |link| icmp_error(link, e.stranger, e.vip, kind, sent);
            let outer = if tunnel.outer == 0 { 34 } else { 54 };
            let out = match port {
                L2_PORT => error(to_backend()),
                _ if tunnel.is_gue => {
                    tunnel.around(e, protocol, 0, &error(inside)).patch(outer + 6, &[0, 0])
                }
                _ => tunnel.around(e, protocol, 0, &error(inside)),
            };
            push(text, error(Link::default()), out, 1);
        }
        let syn_ack = self::segment(e, Link::default(), port, "SA", b"");
        let name = e.title(&format!("SYN-ACK of no flow, port {port}"));
        rows.push(Row::drop(name, syn_ack, Reason::UnknownFlow).live(0));
    }
}

/// Back to where the frame came from.
fn back() -> Link {
    Link { src_mac: OUR_MAC, dst_mac: CLIENT_MAC, ..Link::default() }
}

/// Bytes that an answer quotes.
fn quoted(e: &Ends) -> usize {
    if e.vip.is_ipv4() { 548 } else { 1232 }
}

/// Payload of a TCP segment whose packet has so many bytes.
fn filler(e: &Ends, packet: usize) -> Vec<u8> {
    let headers = if e.vip.is_ipv4() { 40 } else { 60 };
    (0..packet - headers).map(|at| at as u8).collect()
}

fn oversize(rows: &mut Vec<Row>, e: &Ends) {
    let ends = [e.vip, e.client];
    let ways = [
        (NARROW_PORT, NARROW_MTU as usize),
        (L2_PORT, 1500),
        (IPIP_PORT, if e.vip.is_ipv4() { 1480 } else { 1460 }),
        (IPIP_OTHER_PORT, if e.vip.is_ipv4() { 1460 } else { 1480 }),
        (GUE_PORT, if e.vip.is_ipv4() { 1472 } else { 1452 }),
        (GUE_OTHER_PORT, if e.vip.is_ipv4() { 1452 } else { 1472 }),
    ];
    for (port, mtu) in ways {
        let syn = || segment(e, Link::default(), port, "S", b"");
        let sized = |bytes| segment(e, Link::default(), port, "PA", &filler(e, bytes));
        let title = |text: &str| e.title(&format!("{text}, port {port}"));
        if mtu < 1500 {
            rows.push(
                Row::new(
                    title("one byte too large"),
                    sized(mtu + 1),
                    Verdict::Answer(Reason::TooBig),
                )
                .after([syn()])
                .out(too_big(back(), ends, mtu as u16, &sized(mtu + 1), quoted(e)))
                .live(1),
            );
        }
        rows.push(
            Row::drop(title("more than the interface takes"), sized(1501), Reason::Merged)
                .after([syn()])
                .live(1),
        );
        if port != NARROW_PORT {
            let tunnel = Tunnel::new(e, port);
            let inner =
                segment(e, Link { ttl: 63, ..Link::default() }, port, "PA", &filler(e, mtu));
            let out = if port == L2_PORT {
                segment(e, to_backend(), port, "PA", &filler(e, mtu))
            } else {
                tunnel.around(e, 6, 0, &inner)
            };
            rows.push(
                Row::new(title("just as large as can be"), sized(mtu), TO_BACKEND)
                    .after([syn()])
                    .out(out),
            );
        }
    }
}

fn oversize_answers(rows: &mut Vec<Row>, e: &Ends) {
    let client = std::net::SocketAddr::new(
        world::ip(NARROW_CLIENTS[usize::from(e.vip.is_ipv6())]),
        e.client().port(),
    );
    let answer =
        |flags: &str, payload: &[u8]| tcp(from_backend(), e.backend(), e.source(0), flags, payload);
    let opening =
        || [tcp(Link::default(), client, e.vip(world::TCP_PORT), "S", b""), answer("SA", b"")];
    let large = answer("PA", &filler(e, 1401));
    let link = Link { ttl: 64, ..to_backend() };
    rows.extend([
        Row::new(
            e.title("an answer too large for its client's link"),
            large.clone(),
            Verdict::Answer(Reason::TooBig),
        )
        .after(opening())
        .out(too_big(link, [e.source, e.backend], 1400, &large, quoted(e)))
        .live(1),
        Row::new(
            e.title("an answer as large as can be"),
            answer("PA", &filler(e, 1400)),
            TO_CLIENT,
        )
        .after(opening())
        .out(tcp(to_client(), e.vip(world::TCP_PORT), client, "PA", &filler(e, 1400))),
    ]);
}

fn segments(rows: &mut Vec<Row>, e: &Ends) {
    let syn = |port| segment(e, Link::default(), port, "S", b"");
    let out = tcp(to_backend(), e.source(0), e.backend(), "S", b"");
    let answer = tcp(from_backend(), e.backend(), e.source(0), "SA", b"");
    let answered = tcp(to_client(), e.vip(CLAMPED_PORT), e.client(), "SA", b"");
    let mss = |value: u16| [&[2, 4], &value.to_be_bytes()[..]].concat();
    let shifted = |value: u16| [&[1][..], &mss(value), &[3, 3, 7]].concat();
    let late = |value: u16| [&[1, 1, 4, 2][..], &mss(value), &[1, 3, 3, 7]].concat();
    let (large, limit) = (1460, CLAMPED_MSS);
    let mut push = |text: &str, port, before: &[u8], after: &[u8]| {
        rows.push(
            Row::new(e.title(text), syn(port).with_tcp_options(before), TO_BACKEND)
                .out(out.clone().with_tcp_options(after)),
        );
    };
    push("MSS clamped", CLAMPED_PORT, &mss(large), &mss(limit));
    push("a smaller MSS stays", CLAMPED_PORT, &mss(536), &mss(536));
    push("MSS at an odd place clamped", CLAMPED_PORT, &shifted(large), &shifted(limit));
    push("MSS behind others clamped", CLAMPED_PORT, &late(large), &late(limit));
    push("MSS without a limit stays", world::TCP_PORT, &mss(large), &mss(large));
    let bad = [2, 3, 5, 0xb4];
    push("an option of a wrong length stays", CLAMPED_PORT, &bad, &bad);
    let past = [1, 1, 1, 2];
    push("an option past the header stays", CLAMPED_PORT, &past, &past);
    let ended = [&[0, 0, 0, 0][..], &mss(large)].concat();
    push("what follows the end of options stays", CLAMPED_PORT, &ended, &ended);
    rows.push(
        Row::new(
            e.title("the backend's MSS clamped"),
            answer.with_tcp_options(&mss(large)),
            TO_CLIENT,
        )
        .after([syn(CLAMPED_PORT)])
        .out(answered.with_tcp_options(&mss(limit))),
    );
}
