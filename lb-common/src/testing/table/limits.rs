//! Limits, backends that are gone, sources that keep theirs, and the resets that follow.

use std::net::{IpAddr, SocketAddr};

use super::row::{Ends, Row, TO_BACKEND, from_backend, tagged, to_backend, to_client};
use crate::context::verdict::Verdict;
use crate::testing::frames::Link;
use crate::{
    abi::{Address, FlowKey},
    context::verdict::Reason,
    testing::{
        frames::{CLIENT_MAC, Frame, OUR_MAC, reset, tcp, udp},
        world::{
            BACKEND_SIDE, CLIENT_VLAN, EMPTY_PORT, VLAN,
            limits::{
                FULL_PORT, KEPT_PORT, LEAST_PORT, MOVE_PORT, REGIONS_PORT, RESET_PORT, SOFT_PORT,
            },
        },
    },
    wire::parse::slot,
};

const TO_SECOND: Verdict = Verdict::Steer { ifindex: BACKEND_SIDE, vlan: VLAN };
/// Of a frame of the table: its sequence and acknowledgement number.
const SEQUENCE: u32 = 1000;
const ACKNOWLEDGED: u32 = 2000;

impl Ends {
    /// Of the client's `nth` connection to a port.
    fn nth(&self, nth: u16, port: u16, flags: &str, payload: &[u8]) -> Frame {
        tcp(Link::default(), self.nth_client(nth), self.vip(port), flags, payload)
    }

    fn nth_client(&self, nth: u16) -> SocketAddr {
        SocketAddr::new(self.client().ip(), self.client().port() + nth)
    }

    fn query(&self, nth: u16, port: u16) -> Frame {
        udp(Link::default(), self.nth_client(nth), self.vip(port), b"query")
    }

    /// Our reset for a segment of the client's `nth` connection.
    fn reset(&self, nth: u16, port: u16, sequence: u32, acknowledgement: Option<u32>) -> Frame {
        let link = Link { src_mac: OUR_MAC, dst_mac: CLIENT_MAC, ..Link::default() };
        reset(link, self.vip(port), self.nth_client(nth), sequence, acknowledgement)
    }

    fn to_second(&self, flags: &str, payload: &[u8]) -> Frame {
        let link = Link { vlan: Some(VLAN), ..to_backend() };
        tcp(link, self.vlan_source(), self.vlan_backend(), flags, payload)
    }
}

pub(crate) fn add(rows: &mut Vec<Row>, ends: &Ends) {
    nobody(rows, ends);
    limits(rows, ends);
    regions(rows, ends);
    resets(rows, ends);
    moves(rows, ends);
    affinity(rows, ends);
}

fn refused(name: String, frame: Frame, reason: Reason) -> Row {
    Row::new(name, frame, Verdict::Answer(reason))
}

fn nobody(rows: &mut Vec<Row>, e: &Ends) {
    let to_tagged =
        Link { src_mac: OUR_MAC, dst_mac: CLIENT_MAC, vlan: Some(CLIENT_VLAN), ..Link::default() };
    let empty = |text: &str, frame| refused(e.title(text), frame, Reason::NoBackend).live(0);
    let after_syn = Some(SEQUENCE + 1);
    rows.extend([
        empty("SYN to a service without backends", e.nth(0, EMPTY_PORT, "S", b""))
            .out(e.reset(0, EMPTY_PORT, 0, after_syn)),
        empty("SYN with data to it", e.nth(0, EMPTY_PORT, "S", b"early data")).out(e.reset(
            0,
            EMPTY_PORT,
            0,
            Some(SEQUENCE + 11),
        )),
        empty(
            "a SYN with data behind options or extension headers to it",
            behind(e, b"early data"),
        )
        .out(e.reset(0, EMPTY_PORT, 0, Some(SEQUENCE + 11))),
        empty("a padded SYN to it", e.nth(0, EMPTY_PORT, "S", b"").padded(90))
            .out(e.reset(0, EMPTY_PORT, 0, after_syn)),
        empty(
            "a tagged client's SYN to it",
            tcp(tagged(CLIENT_VLAN), e.tagged_client(), e.vip(EMPTY_PORT), "S", b""),
        )
        .out(reset(to_tagged, e.vip(EMPTY_PORT), e.tagged_client(), 0, after_syn)),
    ]);
}

/// A SYN whose transport header does not stand where it usually does.
fn behind(e: &Ends, payload: &[u8]) -> Frame {
    /// Destination options (RFC 8200, 4.6).
    const OPTIONS: u8 = 60;
    let syn = e.nth(0, EMPTY_PORT, "S", payload);
    match e.vip {
        IpAddr::V4(_) => syn.with_options(&[1, 1, 1, 0]),
        IpAddr::V6(_) => syn.with_extension(OPTIONS, &[0, 1, 4, 0, 0, 0, 0]),
    }
}

fn limits(rows: &mut Vec<Row>, e: &Ends) {
    let full = Reason::BackendsFull;
    let syn = |nth, port| e.nth(nth, port, "S", b"");
    let link = Link { vlan: Some(VLAN), ..to_backend() };
    let mut second_source = e.vlan_source();
    second_source.set_port(second_source.port() + 1);
    let closing = tcp(from_backend(), e.backend(), e.source(0), "RA", b"");
    rows.extend([
        refused(e.title("SYN when all are at their hard limit"), syn(1, FULL_PORT), full)
            .after([syn(0, FULL_PORT)])
            .out(e.reset(1, FULL_PORT, 0, Some(SEQUENCE + 1)))
            .live(1),
        Row::drop(e.title("a datagram then"), e.query(1, FULL_PORT), full)
            .after([syn(0, FULL_PORT)])
            .live(1),
        Row::new(e.title("SYN again of the flow that has the room"), syn(0, FULL_PORT), TO_BACKEND)
            .after([syn(0, FULL_PORT), syn(1, FULL_PORT)])
            .out(tcp(to_backend(), e.source(0), e.backend(), "S", b""))
            .live(1),
        Row::new(e.title("SYN when a flow has closed"), syn(1, FULL_PORT), TO_BACKEND)
            .after([syn(0, FULL_PORT), closing])
            .out(tcp(to_backend(), e.source(1), e.backend(), "S", b""))
            .live(1),
        Row::new(e.title("SYN above the soft limit"), syn(1, SOFT_PORT), TO_SECOND)
            .after([syn(0, SOFT_PORT)])
            .out(e.to_second("S", b""))
            .live(1),
        refused(
            e.title("the fifth flow of two backends with room for two"),
            syn(4, LEAST_PORT),
            full,
        )
        .after((0..4).map(|nth| syn(nth, LEAST_PORT)))
        .out(e.reset(4, LEAST_PORT, 0, Some(SEQUENCE + 1)))
        .live(2),
        Row::new(e.title("least_conn fills both evenly"), syn(0, SOFT_PORT), TO_SECOND)
            .after((0..2).map(|nth| syn(nth, LEAST_PORT)))
            .out(tcp(link, second_source, e.vlan_backend(), "S", b""))
            .live(1),
    ]);
}

fn regions(rows: &mut Vec<Row>, e: &Ends) {
    let syn = |nth| e.nth(nth, REGIONS_PORT, "S", b"");
    let near = |nth| tcp(to_backend(), e.source(nth), e.backend(), "S", b"");
    let closing = tcp(from_backend(), e.backend(), e.source(0), "RA", b"");
    rows.extend([
        Row::new(e.title("above the soft limit a flow stays near"), syn(1), TO_BACKEND)
            .after([syn(0)])
            .out(near(1))
            .live(2),
        Row::new(e.title("at the hard limit it goes to the next region"), syn(2), TO_SECOND)
            .after((0..2).map(syn))
            .out(e.to_second("S", b""))
            .live(2),
        refused(e.title("all regions are full"), syn(3), Reason::BackendsFull)
            .after((0..3).map(syn))
            .out(e.reset(3, REGIONS_PORT, 0, Some(SEQUENCE + 1)))
            .live(2),
        Row::new(e.title("the nearest has room again"), syn(3), TO_BACKEND)
            .after((0..3).map(syn).chain([closing]))
            .out(near(2))
            .live(2),
    ]);
}

fn resets(rows: &mut Vec<Row>, e: &Ends) {
    let gone = Reason::BackendGone;
    let segment = |flags: &str, payload: &[u8]| e.nth(0, RESET_PORT, flags, payload);
    let answer = |flags: &str| tcp(from_backend(), e.backend(), e.source(0), flags, b"");
    let opened = || [segment("S", b""), answer("SA")];
    let known = || opened().into_iter().chain([segment("A", b"")]);
    let reset = e.reset(0, RESET_PORT, ACKNOWLEDGED, None);
    let fallen = |text: &str, frame| refused(e.title(text), frame, gone).fallen();
    rows.extend([
        fallen("data to a backend that is gone", segment("PA", b"data"))
            .after(known())
            .out(reset.clone())
            .live(0),
        fallen("FIN to it", segment("FA", b"")).after(known()).out(reset.clone()).live(0),
        fallen("the handshake's end to it", segment("A", b"")).after(opened()).out(reset).live(0),
        Row::drop(e.title("RST to it"), segment("R", b""), gone).fallen().after(known()).live(0),
        Row::new(e.title("its last words pass"), answer("PA"), super::row::TO_CLIENT)
            .fallen()
            .after(known())
            .out(tcp(to_client(), e.vip(RESET_PORT), e.client(), "PA", b""))
            .live(1),
        Row::new(e.title("SYN again goes to another"), segment("S", b""), TO_SECOND)
            .fallen()
            .after([segment("S", b"")])
            .out(e.to_second("S", b""))
            .live(0),
        Row::new(e.title("SYN to a ring that still names it"), segment("S", b""), TO_SECOND)
            .fallen()
            .out(e.to_second("S", b""))
            .live(0),
    ]);
    let to_first = |source, flags: &str, data: &[u8]| {
        tcp(to_backend(), e.source(source), e.backend(), flags, data)
    };
    // The ring here names it still.
    let leaving = |text: &str, frame| Row::new(e.title(text), frame, TO_BACKEND).leaving();
    rows.extend([
        leaving("data to a backend that is leaving", segment("PA", b"data"))
            .after(known())
            .out(to_first(0, "PA", b"data"))
            .live(1),
        leaving("SYN to it begins another connection", segment("S", b""))
            .after(known())
            .out(to_first(1, "S", b""))
            .live(2),
        leaving("SYN to it, half open", segment("S", b""))
            .after([segment("S", b"")])
            .out(to_first(1, "S", b""))
            .live(1),
        leaving("a datagram to it", e.query(0, RESET_PORT))
            .after([e.query(0, RESET_PORT)])
            .out(udp(to_backend(), e.source(0), e.backend(), b"query"))
            .live(1),
    ]);
}

fn moves(rows: &mut Vec<Row>, e: &Ends) {
    let link = Link { vlan: Some(VLAN), ..to_backend() };
    let segment = |flags: &str, payload: &[u8]| e.nth(0, MOVE_PORT, flags, payload);
    let moved = |text: &str, frame| Row::new(e.title(text), frame, TO_SECOND).fallen().live(0);
    let query = udp(link, e.vlan_source(), e.vlan_backend(), b"query");
    rows.extend([
        moved("data moves", segment("PA", b"data"))
            .after([segment("S", b"")])
            .out(e.to_second("PA", b"data")),
        moved("a datagram moves", e.query(0, MOVE_PORT))
            .after([e.query(0, MOVE_PORT)])
            .out(query.clone()),
        moved("a datagram moves where TCP is reset", e.query(0, RESET_PORT))
            .after([e.query(0, RESET_PORT)])
            .out(query),
    ]);
}

fn affinity(rows: &mut Vec<Row>, e: &Ends) {
    // The first connection whose hash asks for this member of two.
    let nth = |member| {
        let asks = |nth: &u16| slot(e.key(*nth, KEPT_PORT).hash(), 2) == member;
        (0..).find(asks).expect("one of two")
    };
    let syn = |nth| e.nth(nth, KEPT_PORT, "S", b"");
    rows.push(
        Row::new(e.title("a source keeps its backend"), syn(nth(1)), TO_BACKEND)
            .after([syn(nth(0))])
            .out(tcp(to_backend(), e.source(1), e.backend(), "S", b""))
            .live(2),
    );
}

impl Ends {
    fn key(&self, nth: u16, port: u16) -> FlowKey {
        let (client, vip) = (self.nth_client(nth), self.vip(port));
        FlowKey {
            src: Address::of(client.ip()),
            dst: Address::of(vip.ip()),
            src_port: client.port().to_be_bytes(),
            dst_port: vip.port().to_be_bytes(),
            protocol: 6,
        }
    }
}
