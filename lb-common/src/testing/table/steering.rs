//! Flows: opened, known, answered, closed.

use std::net::{IpAddr, SocketAddr};

use super::row::{
    CLIENT_PORT, Ends, Row, TO_BACKEND, TO_CLIENT, from_backend, tagged, to_backend, to_client, ttl,
};
use crate::context::verdict::Verdict;
use crate::testing::frames::Link;
use crate::{
    context::verdict::Reason,
    testing::{
        frames::{CLIENT_MAC, Frame, OUR_MAC, icmp_error, reset, tcp, udp},
        world::{
            self, BACKEND_SIDE, CLIENT_VLAN, FIRST_SOURCE_PORT, POOL_PORT, TCP_PORT, UDP_PORT,
            UNREACHABLE_PORT, VLAN, VLAN_PORT,
            guarded::{DENIED_PORT, EXCEPTED_PORT},
        },
    },
};

impl Ends {
    pub(crate) fn syn(&self) -> Frame {
        tcp(Link::default(), self.client(), self.vip(TCP_PORT), "S", b"")
    }

    fn segment(&self, flags: &str, payload: &[u8]) -> Frame {
        tcp(Link::default(), self.client(), self.vip(TCP_PORT), flags, payload)
    }

    fn answer(&self, flags: &str, payload: &[u8]) -> Frame {
        tcp(from_backend(), self.backend(), self.source(0), flags, payload)
    }

    pub(crate) fn datagram(&self, payload: &[u8]) -> Frame {
        udp(Link::default(), self.client(), self.vip(UDP_PORT), payload)
    }
}

pub(crate) fn add(rows: &mut Vec<Row>, ends: &Ends) {
    opening(rows, ends);
    known(rows, ends);
    closing(rows, ends);
    refused(rows, ends);
    vlans(rows, ends);
    from_several_addresses(rows, ends);
}

fn opening(rows: &mut Vec<Row>, e: &Ends) {
    let steered = |nth, flags: &str| tcp(to_backend(), e.source(nth), e.backend(), flags, b"");
    let other = e.client().port() + 1;
    let mut neighbour = e.client();
    neighbour.set_port(other);
    rows.extend([
        Row::new(e.title("SYN opens a flow"), e.syn(), TO_BACKEND).out(steered(0, "S")).live(1),
        Row::new(e.title("SYN again takes the same flow"), e.syn(), TO_BACKEND)
            .after([e.syn()])
            .out(steered(0, "S"))
            .live(1),
        Row::new(
            e.title("another client port gets another source port"),
            tcp(Link::default(), neighbour, e.vip(TCP_PORT), "S", b""),
            TO_BACKEND,
        )
        .after([e.syn()])
        .out(steered(1, "S"))
        .live(2),
        Row::new(e.title("a datagram opens a flow"), e.datagram(b"query"), TO_BACKEND)
            .out(udp(to_backend(), e.source(0), e.backend(), b"query"))
            .live(1),
        Row::new(e.title("an empty datagram"), e.datagram(b""), TO_BACKEND).out(udp(
            to_backend(),
            e.source(0),
            e.backend(),
            b"",
        )),
        Row::new(e.title("a padded short frame"), e.syn().padded(110), TO_BACKEND)
            .out(steered(0, "S").padded(110)),
    ]);
}

/// Flows have our addresses in turn, and what comes for them is found at each.
fn from_several_addresses(rows: &mut Vec<Row>, e: &Ends) {
    let client = |nth| SocketAddr::new(e.client, CLIENT_PORT + nth);
    let ours = |nth: u16| {
        let address = if nth.is_multiple_of(2) { e.source } else { e.second_source };
        SocketAddr::new(address, FIRST_SOURCE_PORT + nth / 2)
    };
    let (vip, backend) = (e.vip(POOL_PORT), e.backend());
    let come = |nth, flags: &str| tcp(Link::default(), client(nth), vip, flags, b"");
    let leave = |nth, flags: &str| tcp(to_backend(), ours(nth), backend, flags, b"");
    let before = |flows| (0..flows).map(|nth| come(nth, "S"));
    for (nth, name) in [(0, "the first"), (1, "the second"), (2, "the first again")] {
        let back = tcp(from_backend(), backend, ours(nth), "SA", b"");
        let told = tcp(to_client(), vip, client(nth), "SA", b"");
        let row = |text: &str, frame, verdict, out| {
            let title = e.title(&format!("from {name} of two addresses: {text}"));
            Row::new(title, frame, verdict).out(out).live(u64::from(nth) + 1)
        };
        let [too_big, unreachable] =
            if e.vip.is_ipv4() { [[3, 4], [3, 3]] } else { [[2, 0], [1, 4]] };
        let (sent, came) = (leave(nth, "A"), tcp(to_backend(), client(nth), vip, "A", b""));
        let answered = tcp(ttl(60), vip, client(nth), "PA", b"data");
        let answer = tcp(ttl(60), backend, ours(nth), "PA", b"data");
        rows.extend([
            row("SYN", come(nth, "S"), TO_BACKEND, leave(nth, "S")).after(before(nth)),
            row("SYN-ACK", back, TO_CLIENT, told).after(before(nth + 1)),
            row(
                "an error about the client's packet",
                icmp_error(from_backend(), e.stranger, ours(nth).ip(), too_big, &sent),
                TO_CLIENT,
                icmp_error(to_client(), e.vip, e.client, too_big, &came),
            )
            .after(before(nth + 1)),
            row(
                "an error about the backend's packet",
                icmp_error(Link::default(), e.stranger, e.vip, unreachable, &answered),
                TO_BACKEND,
                icmp_error(to_backend(), ours(nth).ip(), e.backend, unreachable, &answer),
            )
            .after(before(nth + 1)),
        ]);
    }
    let other = |address, port| SocketAddr::new(address, port);
    let stray = |to| tcp(from_backend(), backend, to, "SA", b"");
    rows.extend([Row::pass(
        e.title("an answer to the port of a flow at another of our addresses"),
        stray(other(e.second_source, FIRST_SOURCE_PORT)),
    )
    .after(before(1))]);
}

fn known(rows: &mut Vec<Row>, e: &Ends) {
    let odd = b"seventeen bytes!!";
    rows.extend([
        Row::new(e.title("data of a known flow"), e.segment("PA", odd), TO_BACKEND)
            .after([e.syn()])
            .out(tcp(to_backend(), e.source(0), e.backend(), "PA", odd))
            .live(1),
        Row::new(e.title("SYN-ACK to the client"), e.answer("SA", b""), TO_CLIENT)
            .after([e.syn()])
            .out(tcp(to_client(), e.vip(TCP_PORT), e.client(), "SA", b"")),
        Row::new(e.title("data to the client"), e.answer("PA", odd), TO_CLIENT)
            .after([e.syn(), e.answer("SA", b"")])
            .out(tcp(to_client(), e.vip(TCP_PORT), e.client(), "PA", odd)),
        Row::new(e.title("the next datagram of a flow"), e.datagram(odd), TO_BACKEND)
            .after([e.datagram(b"first")])
            .out(udp(to_backend(), e.source(0), e.backend(), odd))
            .live(1),
        Row::new(
            e.title("a datagram to the client"),
            udp(from_backend(), e.backend(), e.source(0), odd),
            TO_CLIENT,
        )
        .after([e.datagram(b"first")])
        .out(udp(to_client(), e.vip(UDP_PORT), e.client(), odd)),
        Row::new(
            e.title("the last hop that a packet may take"),
            tcp(ttl(2), e.client(), e.vip(TCP_PORT), "A", b""),
            TO_BACKEND,
        )
        .after([e.syn()])
        .out(tcp(Link { ttl: 1, ..to_backend() }, e.source(0), e.backend(), "A", b"")),
    ]);
}

fn closing(rows: &mut Vec<Row>, e: &Ends) {
    let out = |flags| tcp(to_backend(), e.source(0), e.backend(), flags, b"");
    let both = [e.syn(), e.answer("SA", b""), e.segment("FA", b""), e.answer("FA", b"")];
    rows.extend([
        Row::new(e.title("FIN one way leaves the flow open"), e.segment("FA", b""), TO_BACKEND)
            .after([e.syn()])
            .out(out("FA"))
            .live(1),
        Row::new(e.title("FIN both ways closes it"), e.segment("FA", b""), TO_BACKEND)
            .after([e.syn(), e.answer("FA", b"")])
            .out(out("FA"))
            .live(0),
        Row::new(e.title("the last ACK still passes"), e.segment("A", b""), TO_BACKEND)
            .after(both.clone())
            .out(out("A"))
            .live(0),
        Row::new(e.title("FIN again closes nothing twice"), e.segment("FA", b""), TO_BACKEND)
            .after(both.clone())
            .out(out("FA"))
            .live(0),
        Row::new(e.title("RST of the client closes it"), e.segment("R", b""), TO_BACKEND)
            .after([e.syn()])
            .out(out("R"))
            .live(0),
        Row::new(e.title("RST of the backend closes it"), e.answer("RA", b""), TO_CLIENT)
            .after([e.syn()])
            .out(tcp(to_client(), e.vip(TCP_PORT), e.client(), "RA", b""))
            .live(0),
        Row::new(e.title("SYN on a closed flow opens another"), e.syn(), TO_BACKEND)
            .after(both)
            .out(tcp(to_backend(), e.source(1), e.backend(), "S", b""))
            .live(1),
    ]);
    astray(rows, e);
}

/// What nobody at the other end takes for an end (RFC 9293, 3.10.7.4), or what was under way before
/// one.
fn astray(rows: &mut Vec<Row>, e: &Ends) {
    const ASTRAY: u32 = 0x8000_0000;
    let out = |flags| tcp(to_backend(), e.source(0), e.backend(), flags, b"");
    let back = |flags| tcp(to_client(), e.vip(TCP_PORT), e.client(), flags, b"");
    let open = [e.syn(), e.answer("SA", b""), e.segment("A", b"").acknowledging(1001)];
    let fins = [e.segment("FA", b""), e.answer("FA", b"")];
    let behind = e.segment("PA", b"more").sequenced(1001);
    let before = e.segment("PA", b"late").sequenced(900);
    let data = |payload, number| {
        tcp(to_backend(), e.source(0), e.backend(), "PA", payload).sequenced(number)
    };
    let row =
        |text: &str, frame, verdict| Row::new(e.title(text), frame, verdict).after(open.clone());
    rows.extend([
        row("a RST astray ends nothing", e.segment("R", b"").sequenced(ASTRAY), TO_BACKEND)
            .out(out("R").sequenced(ASTRAY))
            .live(1),
        row("nor does the same one twice", e.segment("R", b"").sequenced(ASTRAY), TO_BACKEND)
            .after([e.segment("R", b"").sequenced(ASTRAY)])
            .out(out("R").sequenced(ASTRAY))
            .live(1),
        row("the backend's neither", e.answer("RA", b"").sequenced(ASTRAY), TO_CLIENT)
            .out(back("RA").sequenced(ASTRAY))
            .live(1),
        row("a FIN astray is none", e.answer("FA", b""), TO_CLIENT)
            .after([e.segment("FA", b"").sequenced(ASTRAY)])
            .out(back("FA"))
            .live(1),
        row("a RST astray amid a handshake", e.segment("A", b""), TO_BACKEND)
            .after([e.segment("R", b"").sequenced(ASTRAY)])
            .out(out("A"))
            .live(1),
        row("what was under way before a RST", e.segment("A", b""), TO_BACKEND)
            .after([e.segment("R", b"")])
            .out(out("A"))
            .live(0),
        row("data again that came before a FIN", before, TO_BACKEND)
            .after(fins.clone())
            .out(data(b"late", 900))
            .live(0),
        row("data behind a FIN: it was none of the client's", behind, TO_BACKEND)
            .after(fins)
            .out(data(b"more", 1001))
            .live(1),
    ]);
}

fn refused(rows: &mut Vec<Row>, e: &Ends) {
    let first = |port, flags: &str| tcp(Link::default(), e.client(), e.vip(port), flags, b"");
    let drop = |text: &str, frame, reason| Row::drop(e.title(text), frame, reason).live(0);
    rows.extend([
        drop("ACK of no flow", first(TCP_PORT, "A"), Reason::UnknownFlow),
        drop("SYN-ACK of no flow", first(TCP_PORT, "SA"), Reason::UnknownFlow),
        drop("RST of no flow", first(TCP_PORT, "R"), Reason::UnknownFlow),
        drop("FIN of no flow", first(TCP_PORT, "FA"), Reason::UnknownFlow),
        drop("SYN with FIN", first(TCP_PORT, "SF"), Reason::BadTcpFlags),
        drop("SYN with RST", first(TCP_PORT, "SR"), Reason::BadTcpFlags),
        drop("no flags at all", first(TCP_PORT, ""), Reason::BadTcpFlags),
        drop("PSH alone", first(TCP_PORT, "P"), Reason::BadTcpFlags),
        drop("a backend without a route", first(UNREACHABLE_PORT, "S"), Reason::NoRoute),
        drop("an undeclared TCP port", first(8081, "S"), Reason::UndeclaredPort),
        drop("TCP to a UDP port", first(UDP_PORT, "S"), Reason::UndeclaredPort),
        drop(
            "UDP to a TCP port",
            udp(Link::default(), e.client(), e.vip(TCP_PORT), b"x"),
            Reason::UndeclaredPort,
        ),
        drop(
            "a first packet at its last hop",
            tcp(ttl(1), e.client(), e.vip(TCP_PORT), "S", b""),
            Reason::TtlExceeded,
        ),
        Row::drop(
            e.title("a flow's packet at its last hop"),
            tcp(ttl(1), e.client(), e.vip(TCP_PORT), "A", b""),
            Reason::TtlExceeded,
        )
        .after([e.syn()])
        .live(1),
    ]);
}

fn vlans(rows: &mut Vec<Row>, e: &Ends) {
    let from = tcp(tagged(CLIENT_VLAN), e.tagged_client(), e.vip(TCP_PORT), "S", b"");
    let behind = tcp(Link::default(), e.client(), e.vip(VLAN_PORT), "S", b"");
    let behind_out = Link { vlan: Some(VLAN), ..to_backend() };
    rows.extend([
        Row::new(e.title("a tagged client's SYN leaves untagged"), from.clone(), TO_BACKEND)
            .out(tcp(to_backend(), e.source(0), e.backend(), "S", b""))
            .live(1),
        Row::new(
            e.title("its answer is tagged"),
            e.answer("SA", b""),
            Verdict::Steer { ifindex: 1, vlan: CLIENT_VLAN },
        )
        .after([from.clone()])
        .out(tcp(
            Link { vlan: Some(CLIENT_VLAN), ..to_client() },
            e.vip(TCP_PORT),
            e.tagged_client(),
            "SA",
            b"",
        )),
        Row::new(
            e.title("a backend behind a VLAN"),
            behind.clone(),
            Verdict::Steer { ifindex: BACKEND_SIDE, vlan: VLAN },
        )
        .out(tcp(behind_out, e.vlan_source(), e.vlan_backend(), "S", b"")),
        Row::new(
            e.title("its tagged answer"),
            tcp(
                Link { vlan: Some(VLAN), ..from_backend() },
                e.vlan_backend(),
                e.vlan_source(),
                "SA",
                b"",
            ),
            TO_CLIENT,
        )
        .after([behind])
        .out(tcp(to_client(), e.vip(VLAN_PORT), e.client(), "SA", b"")),
    ]);
}

/// Segments of flows that nobody knows: answered, dropped, or placed like the first of a flow.
pub(crate) fn add_unknown(rows: &mut Vec<Row>, e: &Ends) {
    let told = Verdict::Answer(Reason::UnknownFlowReset);
    let back = Link { src_mac: OUR_MAC, dst_mac: CLIENT_MAC, ..Link::default() };
    let (client, vip) = (e.client(), e.vip(EXCEPTED_PORT));
    let come = |flags, payload: &[u8]| tcp(Link::default(), client, vip, flags, payload);
    let answer = |number, acknowledged| reset(back, vip, client, number, acknowledged);
    let row = |text: &str, frame: Frame, out: Frame| {
        Row::new(e.title(text), frame, told).out(out).live(0)
    };
    let group = Link { dst_mac: [0xff; 6], ..Link::default() };
    let grouped = tcp(group, client, vip, "PA", b"data");
    let strangers: &[&str] = match e.vip {
        IpAddr::V4(_) => &["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"],
        IpAddr::V6(_) => &["::", "::1", "ff02::1"],
    };
    for stranger in strangers {
        let from = SocketAddr::new(world::ip(stranger), CLIENT_PORT);
        let frame = tcp(Link::default(), from, vip, "PA", b"data");
        let title = e.title(&format!("no RST to {stranger}"));
        rows.push(Row::drop(title, frame, Reason::UnknownFlow).live(0));
    }
    let ranged = tcp(tagged(30), client, vip, "PA", b"data");
    rows.extend([
        // All that it acknowledges is what the sender expects next (RFC 9293, 3.10.7.1).
        row("data of no flow is answered", come("PA", b"data"), answer(2000, None)),
        row("an ACK of no flow", come("A", b""), answer(2000, None)),
        row("a FIN of no flow", come("FA", b""), answer(2000, None)),
        row("a SYN-ACK of no flow", come("SA", b""), answer(2000, None)),
        row("a FIN that acknowledges nothing", come("F", b"end"), answer(0, Some(1004))),
        row(
            "a tagged segment of no flow",
            ranged,
            reset(Link { vlan: Some(30), ..back }, vip, client, 2000, None),
        ),
        Row::drop(e.title("never a RST for a RST"), come("R", b""), Reason::UnknownFlow).live(0),
        Row::drop(e.title("nor one that acknowledges"), come("RA", b""), Reason::UnknownFlow)
            .live(0),
        Row::drop(e.title("nor for what came to a group"), grouped, Reason::UnknownFlow).live(0),
        Row::drop(
            e.title("a denied source is told nothing"),
            tcp(Link::default(), client, e.vip(DENIED_PORT), "PA", b"data"),
            Reason::Denied,
        )
        .live(0),
    ]);
}
