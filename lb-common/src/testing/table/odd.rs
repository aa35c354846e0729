//! Options and extension headers before the transport header.

use super::row::{Ends, Row, TO_BACKEND, TO_CLIENT, from_backend, to_backend, to_client};
use crate::context::verdict::Verdict;
use crate::{
    context::verdict::Reason,
    testing::{
        frames::{Frame, Link, echo_request, tcp, udp},
        world::{PROXY_PORT, TCP_PORT, UDP_PORT},
    },
};

/// Record route with room for one address, and the end of the list.
const RECORD_ROUTE: [u8; 8] = [7, 7, 4, 0, 0, 0, 0, 0];
const LOOSE_ROUTE: [u8; 8] = [131, 7, 4, 10, 0, 0, 1, 0];
const STRICT_ROUTE: [u8; 8] = [1, 137, 7, 4, 10, 0, 0, 1];

/// Extension headers without their first byte; padding options where there are any.
const PADDED: [u8; 7] = [0, 1, 4, 0, 0, 0, 0];
const LONG: [u8; 15] = [1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const ARRIVED: [u8; 7] = [0, 4, 0, 0, 0, 0, 0];
const UNDER_WAY: [u8; 7] = [0, 4, 1, 0, 0, 0, 0];
const ATOMIC: [u8; 7] = [0, 0, 0, 9, 9, 9, 9];

type Dress = fn(Frame) -> Frame;

const V4: [(&str, Dress); 3] = [
    ("record route", |frame| frame.with_options(&RECORD_ROUTE)),
    ("as many options as there may be", |frame| frame.with_options(&[1; 40])),
    ("padding and an end", |frame| frame.with_options(&[1, 1, 1, 0])),
];

const V6: [(&str, Dress); 6] = [
    ("hop-by-hop options", |frame| frame.with_extension(0, &PADDED)),
    ("long destination options", |frame| frame.with_extension(60, &LONG)),
    ("a routing header that has arrived", |frame| frame.with_extension(43, &ARRIVED)),
    ("a packet in one fragment", |frame| frame.with_extension(44, &ATOMIC)),
    ("four headers", |frame| {
        let frame = frame.with_extension(60, &PADDED).with_extension(43, &ARRIVED);
        frame.with_extension(60, &PADDED).with_extension(0, &LONG)
    }),
    ("eight headers", |frame| (0..8).fold(frame, |frame, _| frame.with_extension(60, &PADDED))),
];

pub(crate) fn add(rows: &mut Vec<Row>, e: &Ends) {
    let dresses = if e.vip.is_ipv4() { &V4[..] } else { &V6[..] };
    for (name, dress) in dresses {
        followed(rows, e, name, *dress);
    }
    if e.vip.is_ipv4() {
        refused_v4(rows, e);
    } else {
        refused_v6(rows, e);
        in_fragments(rows, e);
    }
}

fn followed(rows: &mut Vec<Row>, e: &Ends, name: &str, dress: Dress) {
    let row = |text: &str, frame, verdict, out| {
        Row::new(e.title(&format!("{name}: {text}")), dress(frame), verdict).out(dress(out))
    };
    let answer = |flags: &str| tcp(from_backend(), e.backend(), e.source(0), flags, b"");
    let answered = |flags: &str| tcp(to_client(), e.vip(TCP_PORT), e.client(), flags, b"");
    let segment = |flags: &str| tcp(Link::default(), e.client(), e.vip(TCP_PORT), flags, b"odd");
    let steered = |flags: &str| tcp(to_backend(), e.source(0), e.backend(), flags, b"odd");
    let syn_out = tcp(to_backend(), e.source(0), e.backend(), "S", b"");
    let to_proxy = tcp(Link::default(), e.client(), e.vip(PROXY_PORT), "S", b"");
    let undeclared = tcp(Link::default(), e.client(), e.vip(8081), "S", b"");
    let query_out = udp(to_backend(), e.source(0), e.backend(), b"query");
    let query_back = udp(from_backend(), e.backend(), e.source(0), b"answer");
    let query_answered = udp(to_client(), e.vip(UDP_PORT), e.client(), b"answer");
    rows.extend([
        row("SYN", e.syn(), TO_BACKEND, syn_out).live(1),
        row("data of a known flow", segment("PA"), TO_BACKEND, steered("PA"))
            .after([e.syn()])
            .live(1),
        row("SYN-ACK to the client", answer("SA"), TO_CLIENT, answered("SA")).after([e.syn()]),
        row("RST to the client", answer("R"), TO_CLIENT, answered("R")).after([e.syn()]).live(0),
        row("FIN both ways", segment("FA"), TO_BACKEND, steered("FA"))
            .after([e.syn(), dress(answer("FA"))])
            .live(0),
        row("the handshake", segment("A"), TO_BACKEND, steered("A"))
            .after([dress(e.syn()), dress(answer("SA")), dress(segment("A"))])
            .live(1),
        row("a datagram", e.datagram(b"query"), TO_BACKEND, query_out).live(1),
        row("a datagram to the client", query_back, TO_CLIENT, query_answered)
            .after([e.datagram(b"query")]),
        Row::new(e.title(&format!("{name}: to the proxy")), dress(to_proxy), Verdict::Proxy),
        Row::drop(
            e.title(&format!("{name}: to an undeclared port")),
            dress(undeclared),
            Reason::UndeclaredPort,
        ),
        Row::drop(
            e.title(&format!("{name}: ACK of no flow")),
            dress(segment("A")),
            Reason::UnknownFlow,
        ),
    ]);
}

fn refused_v4(rows: &mut Vec<Row>, e: &Ends) {
    let drop = |text: &str, frame, reason| Row::drop(e.title(text), frame, reason).live(0);
    let syn = |options: &[u8]| e.syn().with_options(options);
    let echo = echo_request(Link::default(), e.client, e.vip).with_options(&RECORD_ROUTE);
    rows.extend([
        drop("loose source routing", syn(&LOOSE_ROUTE), Reason::SourceRoute),
        drop("strict source routing", syn(&STRICT_ROUTE), Reason::SourceRoute),
        drop("an option of one byte", syn(&[7, 1, 0, 0]), Reason::IpOptions),
        drop("an option without end", syn(&[7, 0, 0, 0]), Reason::IpOptions),
        drop("an option past the header", syn(&[7, 7, 0, 0]), Reason::IpOptions),
        drop("an option cut by the header's end", syn(&[1, 1, 1, 7]), Reason::IpOptions),
        drop("a header longer than the packet", e.syn().patch(14, &[0x4f]), Reason::BadIpHeader),
        drop("an echo request with options", echo, Reason::IpOptions),
    ]);
}

fn refused_v6(rows: &mut Vec<Row>, e: &Ends) {
    let drop = |text: &str, frame, reason| Row::drop(e.title(text), frame, reason).live(0);
    let with = |kind, body: &[u8]| e.syn().with_extension(kind, body);
    let nine = (0..9).fold(e.syn(), |frame, _| frame.with_extension(60, &PADDED));
    let huge = [&[32, 1, 254][..], &[0; 257]].concat();
    let other = |kind| with(kind, &PADDED).with_extension(60, &PADDED);
    rows.extend([
        drop("a routing header under way", with(43, &UNDER_WAY), Reason::SourceRoute),
        drop("nine headers", nine, Reason::ExtensionHeader),
        drop(
            "264 bytes of options",
            with(60, &[&huge[..], &[0; 3]].concat()),
            Reason::ExtensionHeader,
        ),
        drop("an authentication header", with(51, &PADDED), Reason::ExtensionHeader),
        drop("one behind options", other(51), Reason::ExtensionHeader),
        drop("ESP behind options", other(50), Reason::ExtensionHeader),
        drop("hop-by-hop options in second place", other(0), Reason::ExtensionHeader),
        drop("GRE behind options", other(47), Reason::UnsupportedProtocol),
        drop("no next header", other(59), Reason::UnsupportedProtocol),
        drop("options past the packet", with(60, &[5, 0, 0, 0, 0, 0, 0]), Reason::Truncated),
        drop(
            "options and nothing else",
            e.syn().cut(54).lengthen(-20).with_extension(60, &PADDED),
            Reason::BadTransportHeader,
        ),
        drop(
            "an echo request behind options",
            echo_request(Link::default(), e.client, e.vip).with_extension(60, &PADDED),
            Reason::ExtensionHeader,
        ),
        drop(
            "UDP without a checksum behind options",
            e.datagram(b"query").patch(60, &[0, 0]).with_extension(60, &PADDED),
            Reason::BadTransportHeader,
        ),
    ]);
}

/// Headers before the fragment header are in every fragment, those behind it in the first.
fn in_fragments(rows: &mut Vec<Row>, e: &Ends) {
    const TEXT: [u8; 150] = [b'x'; 150];
    let dress = |frame: Frame| -> Vec<Frame> {
        let fragments = frame.with_extension(60, &PADDED).fragments(77, 64).into_iter();
        fragments.map(|frame| frame.with_extension(0, &LONG)).collect()
    };
    let there = dress(e.datagram(&TEXT));
    let out = dress(udp(to_backend(), e.source(0), e.backend(), &TEXT));
    let names = ["first", "middle", "last"];
    for (nth, name) in names.into_iter().enumerate() {
        let title = e.title(&format!("options before and behind: {name} fragment"));
        rows.push(
            Row::new(title, there[nth].clone(), TO_BACKEND)
                .after(there[..nth].to_vec())
                .out(out[nth].clone())
                .live(1),
        );
    }
}
