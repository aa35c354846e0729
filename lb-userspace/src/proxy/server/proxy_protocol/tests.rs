use std::net::SocketAddr;

use proptest::prelude::*;
use proxy_header::ProxyHeader;

use super::{
    announce::announce,
    malformed::MalformedHeader,
    receive::{ReceivedHeader, parse},
};
use crate::{
    proxy::{net::endpoints::Endpoints, tls::session_info::TlsSession},
    service::ProxyProtocol,
};

fn endpoints(client: &str, server: &str) -> Endpoints {
    let server = server.parse().unwrap();
    Endpoints::new(server, client.parse().unwrap())
}

fn session() -> TlsSession {
    TlsSession {
        version: "TLSv1.3",
        cipher: Some("TLS_AES_256_GCM_SHA384"),
        alpn: Some(b"h2".to_vec()),
        server_name: Some("app.example.com".into()),
        client_name: Some("Ann".into()),
    }
}

#[test]
fn version_1_is_a_line_of_text() {
    for (client, server, line) in [
        ("192.0.2.7:4711", "203.0.113.1:5000", "PROXY TCP4 192.0.2.7 203.0.113.1 4711 5000\r\n"),
        (
            "[2001:db8::7]:4711",
            "[2001:db8::1]:5000",
            "PROXY TCP6 2001:db8::7 2001:db8::1 4711 5000\r\n",
        ),
        (
            "[::ffff:192.0.2.7]:1",
            "[::ffff:203.0.113.1]:2",
            "PROXY TCP4 192.0.2.7 203.0.113.1 1 2\r\n",
        ),
        ("192.0.2.7:1", "[2001:db8::1]:2", "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n"),
    ] {
        let bytes = announce(Some(ProxyProtocol::V1), &endpoints(client, server), Some(&session()));
        assert_eq!(bytes, line.as_bytes(), "{client}");
    }
}

#[test]
fn version_2_tells_what_tls_knows() {
    let endpoints = endpoints("192.0.2.7:4711", "203.0.113.1:5000");
    let bytes = announce(Some(ProxyProtocol::V2), &endpoints, Some(&session()));
    let (header, length) = ProxyHeader::parse(&bytes, Default::default()).unwrap();
    assert_eq!(length, bytes.len());
    assert_eq!(header.alpn(), Some(&b"h2"[..]));
    assert_eq!(header.authority(), Some("app.example.com"));
    let ssl = header.ssl().unwrap();
    assert!(ssl.client_ssl() && ssl.client_cert_conn());
    assert_eq!((ssl.verify(), ssl.version(), ssl.cn()), (0, Some("TLSv1.3"), Some("Ann")));
    assert_eq!(ssl.cipher(), Some("TLS_AES_256_GCM_SHA384"));

    let anonymous = TlsSession { client_name: None, alpn: None, server_name: None, ..session() };
    let bytes = announce(Some(ProxyProtocol::V2), &endpoints, Some(&anonymous));
    let (header, _) = ProxyHeader::parse(&bytes, Default::default()).unwrap();
    let ssl = header.ssl().unwrap();
    assert!(ssl.client_ssl() && !ssl.client_cert_conn());
    assert_ne!(ssl.verify(), 0, "nothing was verified");
    assert_eq!((header.alpn(), header.authority(), ssl.cn()), (None, None, None));

    let plain = announce(Some(ProxyProtocol::V2), &endpoints, None);
    assert_eq!(plain.len(), 28, "a connection without TLS has no facts");
}

/// `\r\n\r\n\0\r\nQUIT\n`, version and command, family, length, and what follows.
fn v2(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

#[test]
fn what_is_no_header_is_refused() {
    let addresses = [192, 0, 2, 7, 203, 0, 113, 1, 0, 80, 1, 187];
    let rows: &[(&str, Vec<u8>, MalformedHeader)] = &[
        ("HTTP", b"GET / HTTP/1.1\r\n".to_vec(), MalformedHeader::NoHeader),
        ("HTTP that begins alike", b"PATCH".to_vec(), MalformedHeader::NoHeader),
        ("a handshake", b"\x16\x03\x01".to_vec(), MalformedHeader::NoHeader),
        ("no space", b"PROXYxTCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), MalformedHeader::NoHeader),
        (
            "an unknown family",
            b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(),
            MalformedHeader::NoHeader,
        ),
        ("the wrong family", b"PROXY TCP4 ::1 ::2 1 2\r\n\r\n".to_vec(), MalformedHeader::NoHeader),
        ("a name", b"PROXY TCP4 localhost 2.2.2.2 1 2\r\n".to_vec(), MalformedHeader::NoHeader),
        (
            "a port too high",
            b"PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n".to_vec(),
            MalformedHeader::NoHeader,
        ),
        (
            "a bare carriage return",
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rX".to_vec(),
            MalformedHeader::NoHeader,
        ),
        (
            "an endless line",
            [b"PROXY UNKNOWN ", &[b'x'; 120][..]].concat(),
            MalformedHeader::NoHeader,
        ),
        ("version 3", v2(0x31, 0x11, 12, &addresses), MalformedHeader::NoHeader),
        ("an unknown command", v2(0x22, 0x11, 12, &addresses), MalformedHeader::NoHeader),
        ("an unknown transport", v2(0x21, 0x13, 12, &addresses), MalformedHeader::NoHeader),
        ("too little for its family", v2(0x21, 0x11, 11, &addresses), MalformedHeader::NoHeader),
        ("datagrams", v2(0x21, 0x12, 12, &addresses), MalformedHeader::Datagrams),
        ("a long one", v2(0x21, 0x11, 5000, &[0; 5000]), MalformedHeader::TooLong),
        (
            "the beginning of a long one",
            v2(0x21, 0x11, 65535, &[0; 4096]),
            MalformedHeader::TooLong,
        ),
    ];
    for (what, bytes, why) in rows {
        assert_eq!(parse(bytes), Err(*why), "{what}");
    }
}

/// Facts as a header has them: kind, length, value.
fn facts(facts: &[(u8, &[u8])]) -> Vec<u8> {
    let fact = |&(kind, value): &(u8, &[u8])| {
        [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
    };
    facts.iter().flat_map(fact).collect()
}

/// haproxy's and varnish's receivers end such connections as well.
#[test]
fn facts_fit_into_their_header_and_its_sum_is_right() {
    const ADDRESSES: [u8; 12] = [192, 0, 2, 7, 203, 0, 113, 1, 0, 80, 1, 187];
    // Computed by another implementation of CRC32c over the header with zeros in its place.
    const SUM: [u8; 4] = [0x75, 0x64, 0x54, 0x43];
    let ssl = facts(&[(0x21, b"TLSv1.3")]);
    let rows: &[(&str, Vec<u8>, Option<MalformedHeader>)] = &[
        ("none", vec![], None),
        ("of any kind", facts(&[(0xee, b"x"), (0x02, b"a.example"), (0x04, &[0; 9])]), None),
        ("one without a value", facts(&[(0xe0, b"")]), None),
        ("a session's", facts(&[(0x20, &[&[1, 0, 0, 0, 0], &ssl[..]].concat())]), None),
        ("an id", facts(&[(0x05, &[7; 128])]), None),
        ("a sum", facts(&[(0x03, &SUM), (0xe0, b"x")]), None),
        ("a wrong sum", facts(&[(0x03, &[1, 2, 3, 4]), (0xe0, b"x")]), Some(MalformedHeader::Sum)),
        ("the sum of another", facts(&[(0x03, &SUM), (0xe0, b"y")]), Some(MalformedHeader::Sum)),
        ("two sums", facts(&[(0x03, &SUM), (0x03, &SUM)]), Some(MalformedHeader::Sum)),
        ("a short sum", facts(&[(0x03, &[1, 2, 3])]), Some(MalformedHeader::Facts)),
        ("a long sum", facts(&[(0x03, &[1, 2, 3, 4, 5])]), Some(MalformedHeader::Facts)),
        ("a long id", facts(&[(0x05, &[7; 129])]), Some(MalformedHeader::Facts)),
        ("half a fact", vec![0xe0], Some(MalformedHeader::Facts)),
        ("half a length", vec![0xe0, 0], Some(MalformedHeader::Facts)),
        ("more than there is", vec![0xe0, 0, 2, b'x'], Some(MalformedHeader::Facts)),
        (
            "more behind others",
            facts(&[(0xe0, b"x")]).into_iter().chain([2, 1, 0]).collect(),
            Some(MalformedHeader::Facts),
        ),
        ("a short session", facts(&[(0x20, &[1, 0, 0, 0])]), Some(MalformedHeader::Facts)),
        (
            "half a fact of a session",
            facts(&[(0x20, &[1, 0, 0, 0, 0, 0x21])]),
            Some(MalformedHeader::Facts),
        ),
    ];
    for (what, facts, why) in rows {
        let header = v2(0x21, 0x11, 12 + facts.len() as u16, &[&ADDRESSES[..], facts].concat());
        match why {
            Some(why) => assert_eq!(parse(&header), Err(*why), "{what}"),
            None => {
                let parsed = parse(&header).unwrap_or_else(|why| panic!("{what}: {why}"));
                assert_eq!(parsed.unwrap().1, header.len(), "{what}");
            }
        }
        // Who speaks for itself is taken whatever follows.
        let header = v2(0x20, 0x11, 12 + facts.len() as u16, &[&ADDRESSES[..], facts].concat());
        assert_eq!(parse(&header), Ok(Some((ReceivedHeader::Itself, header.len()))), "{what}");
    }
}

#[test]
fn who_speaks_for_itself_is_taken_at_its_own_address() {
    for bytes in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20, 0, 0, &[]), v2(0x21, 0, 0, &[])] {
        let length = bytes.len();
        let more = [bytes, b"more".to_vec()].concat();
        assert_eq!(parse(&more), Ok(Some((ReceivedHeader::Itself, length))));
    }
}

fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<([u8; 4], u16, [u8; 4], u16)>()
        .prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q))));
    // Mapped addresses are IPv4 to us, and come back as such.
    let v6 = any::<([u8; 16], u16, [u8; 16], u16)>().prop_map(|(mut a, p, mut b, q)| {
        (a[0], b[0]) = (0x20, 0x20);
        (SocketAddr::from((a, p)), SocketAddr::from((b, q)))
    });
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn what_we_announce_is_understood_at_any_cut(
        (client, server) in addresses(),
        version in prop_oneof![Just(ProxyProtocol::V1), Just(ProxyProtocol::V2)],
        rest in any::<Vec<u8>>(),
    ) {
        let header = announce(Some(version), &Endpoints::new(server, client), Some(&session()));
        for cut in 0..header.len() {
            prop_assert_eq!(parse(&header[..cut]), Ok(None));
        }
        let bytes = [&header[..], &rest].concat();
        let expected = (ReceivedHeader::Client { client, server }, header.len());
        prop_assert_eq!(parse(&bytes), Ok(Some(expected)));
    }

    #[test]
    fn any_bytes_have_an_answer(bytes in any::<Vec<u8>>(), signature in 0..3_usize) {
        let signature: &[u8] = [&b""[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n\x21"][signature];
        let bytes = [signature, &bytes].concat();
        if let Ok(Some((_, length))) = parse(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}
