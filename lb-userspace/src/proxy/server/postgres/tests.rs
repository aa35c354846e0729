use proptest::prelude::*;

use super::message::{CancelKey, KeyScan, MalformedMessage, Start, parse_start};

fn message(length: u32, code: u32, body: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

fn cancel(body: &[u8]) -> Vec<u8> {
    message(8 + body.len() as u32, 80_877_102, body)
}

/// A server's message.
fn typed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(4 + body.len() as u32).to_be_bytes(), body].concat()
}

fn key_of(request: &[u8]) -> CancelKey {
    match parse_start(request) {
        Ok(Ok(Start::Cancel(key))) => key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_client_may_begin_with() {
    let long_key = cancel(&[7; 260]);
    for (what, bytes, start) in [
        ("SSLRequest", message(8, 80_877_103, &[]), Start::Tls),
        ("GSSENCRequest", message(8, 80_877_104, &[]), Start::Gss),
        ("protocol 3.0", message(20, 0x3_0000, &[]), Start::Session),
        ("protocol 3.2", message(10_000, 0x3_0002, &[]), Start::Session),
        (
            "protocol 3.9999, which clients use for grease",
            message(8, 0x3_270f, &[]),
            Start::Session,
        ),
        ("a key of 3.0", cancel(&[1; 8]), Start::Cancel(key_of(&cancel(&[1; 8])))),
        ("a key of 3.2", long_key.clone(), Start::Cancel(key_of(&long_key))),
    ] {
        assert_eq!(parse_start(&bytes), Ok(Ok(start)), "{what}");
    }
    assert_eq!(key_of(&long_key).request(), long_key);
}

#[test]
fn what_is_not_postgresql_is_refused() {
    let rows: &[(&str, Vec<u8>, MalformedMessage)] = &[
        ("HTTP", b"GET / HTTP/1.1".to_vec(), MalformedMessage::Length(0x4745_5420)),
        ("length 0", message(0, 80_877_103, &[]), MalformedMessage::Length(0)),
        ("no code", message(4, 80_877_103, &[]), MalformedMessage::Length(4)),
        (
            "a startup message too long",
            message(10_001, 0x3_0000, &[]),
            MalformedMessage::Length(10_001),
        ),
        ("protocol 2", message(296, 0x2_0000, &[]), MalformedMessage::Version(2, 0)),
        ("protocol 4", message(8, 0x4_0001, &[]), MalformedMessage::Version(4, 1)),
        (
            "another request code",
            message(8, 80_877_105, &[]),
            MalformedMessage::Version(1234, 5681),
        ),
        ("SSLRequest with more", message(9, 80_877_103, &[0]), MalformedMessage::Length(9)),
        ("GSSENCRequest with more", message(12, 80_877_104, &[0; 4]), MalformedMessage::Length(12)),
        ("a cancel request without key", message(8, 80_877_102, &[]), MalformedMessage::Length(8)),
        ("a key too short", cancel(&[0; 7]), MalformedMessage::Length(15)),
        ("a key too long", cancel(&[0; 261]), MalformedMessage::Length(269)),
    ];
    for (what, bytes, why) in rows {
        assert_eq!(parse_start(bytes), Err(*why), "{what}");
    }
}

#[test]
fn how_much_is_missing_is_said() {
    let whole = cancel(&[1; 12]);
    for cut in 0..whole.len() {
        let missing = if cut < 8 { 8 - cut } else { whole.len() - cut };
        assert_eq!(parse_start(&whole[..cut]), Ok(Err(missing)), "{cut}");
    }
}

/// Up to a session that is ready, with SCRAM in between.
fn greeting(key: &[u8]) -> Vec<u8> {
    [
        typed(b'R', &[0, 0, 0, 10]),
        typed(b'R', &[0; 3000]),
        typed(b'R', &[0, 0, 0, 0]),
        typed(b'S', b"server_version\x0018\0"),
        typed(b'N', &[]),
        typed(b'K', key),
        typed(b'Z', b"I"),
    ]
    .concat()
}

#[test]
fn a_key_is_found_wherever_the_stream_is_cut() {
    let key = [9; 8];
    let stream = greeting(&key);
    for size in [1, 2, 3, 5, 7, 4096, 100_000] {
        let mut scan = KeyScan::default();
        let found: Vec<_> = stream.chunks(size).filter_map(|chunk| scan.feed(chunk)).collect();
        assert_eq!(found, [key_of(&cancel(&key))], "in chunks of {size}");
        assert!(scan.is_over());
    }
}

#[test]
fn who_gives_out_no_key_is_not_watched_for_ever() {
    for (what, stream) in [
        ("ready without one", typed(b'Z', b"I")),
        ("too short a length", b"R\0\0\0\x03".to_vec()),
        ("too short a key", typed(b'K', &[0; 7])),
        ("too long a key", b"K\0\0\x01\x09".to_vec()),
        ("something else", b"HTTP/1.1 400 Bad Request\r\n".to_vec()),
    ] {
        let mut scan = KeyScan::default();
        assert_eq!(scan.feed(&stream), None, "{what}");
        assert!(scan.is_over() || what == "something else", "{what}");
    }
}

proptest! {
    #[test]
    fn any_bytes_have_an_answer(
        bytes in any::<Vec<u8>>(),
        code in prop_oneof![Just(80_877_102_u32), Just(80_877_103), Just(0x3_0000), any::<u32>()],
        length in prop_oneof![8..300_u32, any::<u32>()],
    ) {
        for bytes in [bytes.clone(), message(length, code, &bytes)] {
            if let Ok(Ok(Start::Cancel(key))) = parse_start(&bytes) {
                let request = key.request();
                prop_assert_eq!(&request, &bytes[..request.len()]);
            }
        }
    }

    /// However the bytes come, the scan finds the same and keeps no more than a key.
    #[test]
    fn a_scan_does_not_depend_on_cuts(
        kinds in
            prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)), 0..8),
        rest in any::<Vec<u8>>(),
        size in 1..30_usize,
    ) {
        let messages = kinds.iter().flat_map(|(kind, body)| typed(*kind, body));
        let mut stream: Vec<u8> = messages.collect();
        stream.extend(rest);
        let whole = KeyScan::default().feed(&stream);
        let mut scan = KeyScan::default();
        let cut = stream.chunks(size).find_map(|chunk| scan.feed(chunk));
        prop_assert_eq!(whole, cut);
    }
}
