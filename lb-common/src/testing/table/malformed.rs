//! Frames to an address of ours that nothing well-behaved sends, or that we do not support.

use super::row::{Ends, Row, TO_BACKEND, tagged, to_backend};
use crate::testing::frames::Link;
use crate::{
    context::verdict::Reason,
    testing::{
        frames::{Frame, other_protocol, tcp, udp},
        world::{TCP_PORT, UDP_PORT},
    },
};

const L3: usize = 14;

pub(crate) fn add(rows: &mut Vec<Row>, e: &Ends) {
    let l4 = if e.vip.is_ipv4() { 34 } else { 54 };
    let syn = || e.syn();
    let query = || e.datagram(b"query");
    let drop = |text: &str, frame, reason| Row::drop(e.title(text), frame, reason).live(0);
    rows.extend([
        drop("a frame that ends in the TCP header", syn().cut(l4 + 10), Reason::Truncated),
        drop("a frame that ends in the UDP header", query().cut(l4 + 6), Reason::Truncated),
        drop("a frame that ends in the payload", query().cut(l4 + 10), Reason::Truncated),
        drop("TCP data offset of 4", syn().patch(l4 + 12, &[0x40]), Reason::BadTransportHeader),
        drop(
            "TCP data offset past the packet",
            syn().patch(l4 + 12, &[0xf0]),
            Reason::BadTransportHeader,
        ),
        drop("UDP length of 7", query().patch(l4 + 4, &[0, 7]), Reason::BadTransportHeader),
        drop(
            "UDP length past the packet",
            query().patch(l4 + 4, &[0, 200]),
            Reason::BadTransportHeader,
        ),
        drop(
            "GRE",
            other_protocol(Link::default(), e.client, e.vip, 47),
            Reason::UnsupportedProtocol,
        ),
        drop(
            "SCTP",
            other_protocol(Link::default(), e.client, e.vip, 132),
            Reason::UnsupportedProtocol,
        ),
        drop(
            "malformed below a tag",
            tcp(tagged(5), e.client(), e.vip(TCP_PORT), "S", b"").patch(l4 + 4 + 12, &[0x40]),
            Reason::BadTransportHeader,
        ),
    ]);
}

/// The header checksum is not looked at: whoever receives the packet does that.
pub(crate) fn add_v4(rows: &mut Vec<Row>, e: &Ends) {
    let syn = || e.syn();
    let drop = |text: &str, frame, reason| Row::drop(e.title(text), frame, reason).live(0);
    let bare = udp(Link::default(), e.client(), e.vip(UDP_PORT), b"query").patch(40, &[0, 0]);
    let bare_out = udp(to_backend(), e.source(0), e.backend(), b"query").patch(40, &[0, 0]);
    rows.extend([
        drop("a header length of 16", syn().patch(L3, &[0x44]), Reason::BadIpHeader),
        drop("version 5", syn().patch(L3, &[0x55]), Reason::BadIpHeader),
        drop("a total length of 19", syn().patch(L3 + 2, &[0, 19]), Reason::BadIpHeader),
        drop("a total length past the frame", syn().patch(L3 + 2, &[5, 0]), Reason::Truncated),
        drop(
            "a total length that ends before the TCP header does",
            syn().patch(L3 + 2, &[0, 30]),
            Reason::BadTransportHeader,
        ),
        Row::new(e.title("UDP without a checksum stays so"), bare, TO_BACKEND).out(bare_out),
        Row::pass(e.title("a stranger's fragment"), other(e).patch(L3 + 6, &[0x20, 0])),
        Row::pass(e.title("a stranger's options"), other(e).patch(L3, &[0x46])),
    ]);
}

pub(crate) fn add_v6(rows: &mut Vec<Row>, e: &Ends) {
    let syn = || e.syn();
    let drop = |text: &str, frame, reason| Row::drop(e.title(text), frame, reason).live(0);
    let next = |protocol| syn().patch(L3 + 6, &[protocol]);
    rows.extend([
        drop("version 4 in an IPv6 frame", syn().patch(L3, &[0x40]), Reason::BadIpHeader),
        drop("a payload length past the frame", syn().patch(L3 + 4, &[5, 0]), Reason::Truncated),
        drop("an authentication header", next(51), Reason::ExtensionHeader),
        drop(
            "UDP without a checksum",
            e.datagram(b"query").patch(60, &[0, 0]),
            Reason::BadTransportHeader,
        ),
        Row::pass(e.title("a stranger's fragment"), other(e).patch(L3 + 6, &[44])),
        Row::pass(e.title("a stranger's options"), other(e).patch(L3 + 6, &[0])),
    ]);
}

fn other(e: &Ends) -> Frame {
    let stranger = std::net::SocketAddr::new(e.stranger, TCP_PORT);
    tcp(Link::default(), e.client(), stranger, "S", b"")
}
