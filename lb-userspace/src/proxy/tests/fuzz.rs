//! Whatever the bytes, and however they arrive, our parsers answer, and answer the same.
//!
//! Each is a short run here. A long one takes as many inputs as it is told:
//! `BOLERO_RANDOM_ITERATIONS=10000000 cargo test --release -p lb-userspace fuzz`, or follows the
//! code's branches with `cargo bolero test` (docs/fuzzing.md).

use std::{
    cell::RefCell,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bolero::check;
use http_body_util::BodyExt as _;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};

use crate::proxy::{
    downstream::{activity::Activity, stream::ObservedStream},
    http::{
        fault::Fault,
        fly_replay,
        h2_frames::TargetFragments,
        headers::HeaderNames,
        host::{self, Authority},
        preface,
    },
    net::relay::RelayStream,
    server::{
        postgres::message::{CancelKey, KeyScan, Start, parse_start},
        proxy_protocol::receive::parse,
    },
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
        let Some(host) = Authority::parse(text) else { return };
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

/// What requests are made of, pipelined ones among them.
const WORDS: &[&str] = &[
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "GET / HTTP/1.1\r\n",
    "\r\nPOST /5 HTTP/1.1\r\n",
    "\r\nPUT / HTTP/1.0\r\nconnection: keep-alive\r\n",
    "content-length",
    "Content-Length: 5\r\n\r\nhello",
    "Content-Length: 5\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n",
    "1;x=y\r\n\n\r\n",
    "00\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "X: y\r\n",
    "GET /#x HTTP/1.1\r\n\r\n",
    ":",
    " ",
    "5",
    "x",
    "\0",
];

#[test]
fn requests_that_are_watched() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    check!().with_iterations(RUNS).with_type::<(Vec<u8>, usize)>().for_each(|(choices, size)| {
        let words = choices.iter().map(|choice| WORDS[usize::from(*choice) % WORDS.len()]);
        let text: String = ["GET / HTTP/1.1\r\n"].into_iter().chain(words).collect();
        let whole = runtime.block_on(watched(&text, text.len()));
        let parted = runtime.block_on(watched(&text, size % 40 + 1));
        assert_eq!(whole, parted, "{text:?}");
        // hyper has found no request where we saw none.
        assert!(!whole.contains(&Err(Fault::BadBody)), "{text:?}: {whole:?}");
    });
}

#[test]
fn frames_with_fragments() {
    const BEGUN: &[&[u8]] = &[
        b"",
        b"\0\0\x20\x01\x04\0\0\0\x01",
        b"\0\0\x20\x01\x2c\0\0\0\x01\x04",
        b"\0\0\x06\x01\0\0\0\0\x01\x45\x04/a#b\0\0\x20\x09\x04\0\0\0\x01\x7e",
        b"\0\0\x20\x01\x04\0\0\0\x01\x04\x90",
        b"\0\0\x20\x01\x04\0\0\0\x01\0\x05:path\x1f",
    ];
    check!().with_iterations(RUNS).with_type::<Input>().for_each(|(choice, rest, cut)| {
        let bytes = [&[0; 24], &*after(BEGUN, *choice, rest)].concat();
        let (mut whole, mut parted) = (bytes.clone(), bytes.clone());
        TargetFragments::default().mark(&mut whole);
        let mut fragments = TargetFragments::default();
        let (first, second) = parted.split_at_mut(cut % (bytes.len() + 1));
        fragments.mark(first);
        fragments.mark(second);
        assert_eq!(whole, parted);
        // A bit is added, and none taken.
        assert!(bytes.iter().zip(&whole).all(|(before, after)| before & !after & !0x01 == 0));
    });
}

/// A client's bytes, so many at a time.
struct Parts<'t> {
    left: &'t [u8],
    size: usize,
}

impl AsyncRead for Parts<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let size = self.size.min(self.left.len()).min(buf.remaining());
        let (part, left) = self.left.split_at(size);
        buf.put_slice(part);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

impl RelayStream for tokio::io::Join<Parts<'_>, tokio::io::Sink> {}

/// What is said of each request that hyper finds in `text`, which arrives in parts.
async fn watched(text: &str, size: usize) -> Vec<Result<(), Fault>> {
    let watch =
        Activity::http1(Arc::new(HeaderNames::new("Fly-").unwrap()), std::time::Duration::MAX);
    let said = Rc::<RefCell<Vec<_>>>::default();
    let service = service_fn(|request: Request<Incoming>| {
        let seen = watch.begin(false).seen;
        said.borrow_mut().push(seen);
        async move {
            let read = request.into_body().collect().await;
            let mut response = Response::new(String::new());
            if seen.is_err() || read.is_err() {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stream = tokio::io::join(Parts { left: text.as_bytes(), size }, tokio::io::sink());
    let stream = ObservedStream::new(stream, Bytes::new(), watch.clone());
    // Most of it is no HTTP.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    said.take()
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
        if let Ok(directions) = fly_replay::parse(&text) {
            let one_more = format!("{};state=x", text.trim_end().trim_end_matches(';'));
            let again = fly_replay::parse(&one_more);
            assert!(
                directions.state.is_some() || text.contains("state") || again.is_ok(),
                "{text}"
            );
        }
    });
}
