//! Whatever the bytes, and however they arrive, our parsers answer, and answer the same.
//!
//! Each is a short run here. A long one takes as many inputs as it is told:
//! `BOLERO_RANDOM_ITERATIONS=10000000 cargo test --release -p lb-userspace fuzz`, or follows the
//! code's branches with `cargo bolero test` (docs/fuzzing.md).

use bolero::check;
use hyper::{Request, header};

use super::super::{
    host::{self, Host},
    postgres::message::{CancelKey, KeyScan, Start, parse_start},
    preface,
    proxy_protocol::receive::parse,
    replay,
    witness::{Seen, Witness},
};

const RUNS: usize = 5_000;

/// `begun` with `rest` behind it: what random bytes alone would never find.
fn after(begun: &[&[u8]], choice: u8, rest: &[u8]) -> Vec<u8> {
    let begun = begun[usize::from(choice) % begun.len()];
    [begun, rest].concat()
}

type Input = (u8, Vec<u8>, usize);

#[test]
fn proxy_protocol_headers() {
    const BEGUN: &[&[u8]] = &[
        b"",
        b"PROXY ",
        b"PROXY TCP4 192.0.2.1 203.0.113.1 ",
        b"PROXY TCP6 ",
        b"PROXY UNKNOWN",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00",
    ];
    check!().with_iterations(RUNS).with_type::<Input>().for_each(|(choice, rest, cut)| {
        let bytes = after(BEGUN, *choice, rest);
        let part = &bytes[..cut % (bytes.len() + 1)];
        let whole = parse(&bytes);
        match parse(part) {
            Ok(None) => {}
            // Nothing that follows changes what was decided.
            decided => assert_eq!(decided, whole),
        }
        if let Ok(Some((_, length))) = whole {
            assert!(length <= bytes.len());
            assert_eq!(parse(&bytes[..length]), whole);
        }
    });
}

#[test]
fn postgres_startup_messages() {
    const BEGUN: &[&[u8]] = &[
        b"",
        b"\0\0\0\x08\x04\xd2\x16",
        b"\0\0\0\x10\x04\xd2\x16\x2e",
        b"\0\0\x01\x0c\x04\xd2\x16\x2e",
        b"\0\0\0",
        b"\0\0\0\x20\0\x03\0",
    ];
    check!().with_iterations(RUNS).with_type::<Input>().for_each(|(choice, rest, cut)| {
        let bytes = after(BEGUN, *choice, rest);
        let part = &bytes[..cut % (bytes.len() + 1)];
        match (parse_start(part), parse_start(&bytes)) {
            (Ok(Err(missing)), _) => assert!(missing > 0),
            (decided, whole) => assert_eq!(decided, whole),
        }
        if let Ok(Ok(Start::Cancel(key))) = parse_start(&bytes) {
            assert!(bytes.starts_with(&key.request()));
        }
    });
}

#[test]
fn postgres_keys() {
    const BEGUN: &[&[u8]] = &[
        b"",
        b"R\0\0\0\x08\0\0\0\0",
        b"S\0\0\0\x06a\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02",
        b"K\0\0\0\x0c",
        b"K\0\0\0\x03",
        b"K\xff\xff\xff\xff",
        b"E\0\0\0\x00",
    ];
    fn scan(parts: [&[u8]; 2]) -> (Option<CancelKey>, bool) {
        let mut scan = KeyScan::default();
        let found = parts.map(|part| scan.feed(part));
        (found.into_iter().flatten().next(), scan.is_over())
    }
    check!().with_iterations(RUNS).with_type::<Input>().for_each(|(choice, rest, cut)| {
        let bytes = after(BEGUN, *choice, rest);
        let (first, second) = bytes.split_at(cut % (bytes.len() + 1));
        assert_eq!(scan([first, second]), scan([&bytes, &[]]));
    });
}

#[test]
fn hosts_and_authorities() {
    const BEGUN: &[&[u8]] =
        &[b"", b"[", b"[::1", b"[::1]", b"[::1]:", b"a", b"a.example", b"a:", b"10.0.0.1:", b"a@"];
    check!().with_iterations(RUNS).with_type::<Input>().for_each(|(choice, rest, _)| {
        let bytes = after(BEGUN, *choice, rest);
        let Ok(text) = std::str::from_utf8(&bytes) else { return };
        let Some(host) = Host::parse(text) else { return };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        assert!(text.bytes().all(plain), "{text:?}");
        assert!(text.starts_with(host.name()) && !host.name().is_empty());
        // hyper agrees that this is an authority, wherever it takes one, and means the same name.
        let request = Request::builder().header(header::HOST, text).body(()).unwrap();
        assert_eq!(host::of(&request).map(|host| host.name()), Some(host.name()));
        if let Ok(authority) = text.parse::<hyper::http::uri::Authority>() {
            assert_eq!(authority.host(), host.name());
        }
    });
}

#[test]
fn prefaces() {
    check!().with_iterations(RUNS).with_type::<Input>().for_each(|(choice, rest, cut)| {
        let begun = &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..usize::from(*choice) % 25];
        let bytes = [begun, rest].concat();
        let part = preface::classify(&bytes[..cut % (bytes.len() + 1)]);
        assert!(part.is_none() || part == preface::classify(&bytes));
    });
}

#[test]
fn header_sections_that_are_watched() {
    const WORDS: &[&str] = &[
        "\r\n",
        "\n",
        "\r",
        "content-length",
        "Content-Length",
        ":",
        " ",
        "5",
        "GET / HTTP/1.1",
        "x",
        "transfer-encoding: chunked",
        "\0",
    ];
    check!().with_iterations(RUNS).with_type::<(Vec<u8>, usize)>().for_each(|(choices, size)| {
        let words = choices.iter().map(|choice| WORDS[usize::from(*choice) % WORDS.len()]);
        let text: String = words.collect();
        let mut witness = Witness::default();
        for part in text.as_bytes().chunks(size % 40 + 1) {
            witness.look(part);
        }
        assert_eq!(witness.finish(), seen(&text), "{text:?}");
    });
}

/// The same as [`Witness`] sees, line by line.
fn seen(text: &str) -> Seen {
    let mut seen = Seen::default();
    let mut has_begun = false;
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        seen.has_bare_line_feed |= !line.ends_with("\r\n");
        let is_empty = line.trim_end_matches('\n').trim_end_matches('\r').is_empty();
        let is_empty = is_empty && line.len() <= 2;
        if is_empty && has_begun {
            break;
        }
        has_begun |= !is_empty;
        seen.has_length |= line.to_ascii_lowercase().starts_with("content-length:");
    }
    seen
}

#[test]
fn directions_of_backends() {
    const BEGUN: &[&[u8]] = &[
        b"",
        b"region=iad;",
        b"region=\"iad,",
        b"instance=",
        b"app=other;state=\"",
        b"elsewhere=true;timeout=",
    ];
    check!().with_iterations(RUNS).with_type::<Input>().for_each(|(choice, rest, _)| {
        let bytes = after(BEGUN, *choice, rest);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(directions) = replay::parse::parse(&text) {
            let one_more = format!("{};state=x", text.trim_end().trim_end_matches(';'));
            let again = replay::parse::parse(&one_more);
            assert!(
                directions.state.is_some() || text.contains("state") || again.is_ok(),
                "{text}"
            );
        }
    });
}
