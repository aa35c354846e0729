//! What is no request, or one that readers may understand differently: wherever it stands, the
//! client is told why.

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use tokio::net::TcpStream;

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw, http2},
    lab::{Lab, Plan, Start},
};

/// Requests with nothing wrong, and bodies that look like header sections.
const SOUND: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\n\n\n\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
     3;a=b\r\n\n\n\n\r\n04\r\nX:\n\n\r\n0\r\nX: y\r\n\r\n",
];

const UNSOUND: &[(&str, &str, &str)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n", "400", "bare-line-feed"),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
        "two-framings",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "400",
        "two-framings",
    ),
    ("GET / HTTP/1.1\r\nX: y\r\n\r\n", "400", "bad-host"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "400", "bad-header"),
    ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", "400", "bad-version"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "400", "bad-content-length"),
    ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
    ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
    ("GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
    ("GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
    ("GET http://a#b HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-target"),
    ("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400", "bad-host"),
    ("GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n", "400", "bad-host"),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n",
        "400",
        "bad-transfer-encoding",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n",
        "400",
        "bad-transfer-encoding",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;a=b\r\n\r\n",
        "400",
        "bad-transfer-encoding",
    ),
];

/// Chunks that two may read differently: as trailers, as the end, or as another size.
const UNSOUND_CHUNKS: &[&str] = &[
    "0\r\n\n",
    "0\r\nX: y\n\r\n",
    "0\r\nX: y\r\n\n",
    "0\n\r\n",
    "0\r\nX y\r\n\r\n",
    "0\r\n X: y\r\n\r\n",
    "0\r\nX: y\rZ: y\r\n\r\n",
    "0\r\nX",
    "5\nhello\r\n0\r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5;\nhello\r\n0\r\n\r\n",
    "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5 a\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "5_0\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "\r\n5\r\nhello\r\n0\r\n\r\n",
    ";a=b\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "00000000000000000000000000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
];

/// golang/go#71988, nginx/nginx#1016, oven-sh/bun#29733, apache/trafficserver#10580.
#[tokio::test]
async fn chunks_have_one_meaning() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    for chunks in UNSOUND_CHUNKS {
        for ahead in ["", "2\r\nab\r\n"] {
            let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let text = [head, ahead, chunks, SOUND[0]].concat();
            // At once, and the body's end by itself as a proxy before us may send it.
            for cut in [text.len(), head.len() + ahead.len()] {
                let mut client = Raw::connect(lab.address).await;
                let (first, second) = text.split_at(cut);
                client.send(first).await;
                client.send_to(second).await;
                let reply = client.reply().await;
                assert_eq!(reply.status(), "400", "{text:?}: {reply:?}");
                assert_eq!(reply.header("fly-error"), Some("bad-body"), "{text:?}");
                assert_eq!(reply.header("connection"), Some("close"), "{text:?}");
                assert!(client.rest().await.is_empty(), "{text:?} has one answer more");
            }
        }
    }
    lab.finish().await;
}

/// A HEADERS frame on stream 1 that says `fields` as they are, and ends the stream.
fn headers_frame(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal that no table keeps, neither part compressed (RFC 7541 6.2.2).
        block.extend([0, name.len() as u8]);
        block.extend_from_slice(name.as_bytes());
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    }
    let mut frame = vec![0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1];
    frame.extend(block);
    frame
}

/// What becomes of stream 1: the first byte of its header section, or the kind of another frame
/// that is about it or ends the connection.
async fn outcome(address: std::net::SocketAddr, fields: &[(&str, &str)]) -> Result<u8, u8> {
    let mut client = Raw::connect(address).await;
    let opening = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0, 0, 0, 4, 0, 0, 0, 0, 0][..]].concat();
    client.send([opening, headers_frame(fields)].concat()).await;
    loop {
        let head = client.take(9).await;
        let length = usize::from(head[1]) * 256 + usize::from(head[2]);
        let rest = client.take(length).await;
        match head[3] {
            1 => return Ok(rest[0]),
            // RST_STREAM, GOAWAY
            kind @ (3 | 7) => return Err(kind),
            _ => {}
        }
    }
}

#[tokio::test]
async fn fields_of_http2_have_one_meaning() {
    const OK: Result<u8, u8> = Ok(0x88);
    const BAD: Result<u8, u8> = Ok(0x8c);
    const RESET: Result<u8, u8> = Err(3);
    const AWAY: Result<u8, u8> = Err(7);
    const GET: (&str, &str) = (":method", "GET");
    const HTTP: (&str, &str) = (":scheme", "http");
    const PATH: (&str, &str) = (":path", "/");
    const A: (&str, &str) = (":authority", "a");
    let backend = backend::saying("ok").await;
    let lab = Lab::http(&[backend.address]);
    type Fields = &'static [(&'static str, &'static str)];
    let rows: &[(Fields, Result<u8, u8>)] = &[
        (&[GET, HTTP, PATH, A], OK),
        (&[GET, HTTP, PATH, ("host", "a")], OK),
        (&[GET, HTTP, PATH, A, ("host", "A")], OK),
        (&[("method", "x"), GET, HTTP, PATH, A], RESET),
        (&[GET, HTTP, PATH, A, ("host", "b")], BAD),
        (&[GET, HTTP, PATH, A, ("host", "a"), ("host", "a")], BAD),
        (&[GET, HTTP, PATH], BAD),
        (&[GET, HTTP, PATH, (":authority", "user@a")], BAD),
        (&[GET, HTTP, (":path", "?x"), A], BAD),
        (&[GET, HTTP, (":path", "*"), A], BAD),
        (&[GET, HTTP, ("host", "a")], BAD),
        (&[GET, HTTP, (":path", "/x#y"), A], RESET),
        (&[GET, HTTP, (":path", "/x?y#z"), A], RESET),
        (&[GET, HTTP, (":path", "#x"), ("host", "a")], RESET),
        (&[GET, HTTP, PATH, A, ("referer", "/x#y")], OK),
        (&[GET, HTTP, A], RESET),
        (&[GET, HTTP, (":path", ""), A], RESET),
        (&[GET, HTTP, (":path", "x"), A], RESET),
        (&[GET, PATH, A], RESET),
        (&[HTTP, PATH, A], RESET),
        (&[GET, GET, HTTP, PATH, A], RESET),
        (&[GET, HTTP, PATH, A, (":status", "200")], RESET),
        (&[GET, HTTP, PATH, A, ("x", " y")], BAD),
        (&[GET, HTTP, PATH, A, ("x", "y\t")], BAD),
        (&[GET, HTTP, PATH, A, ("x", "")], OK),
        (&[GET, HTTP, PATH, A, ("connection", "close")], RESET),
        (&[GET, HTTP, PATH, A, ("transfer-encoding", "chunked")], RESET),
        (&[GET, HTTP, PATH, A, ("upgrade", "h2c")], RESET),
        (&[GET, HTTP, PATH, A, ("te", "gzip")], RESET),
        (&[GET, HTTP, PATH, A, ("content-length", "5")], RESET),
        (&[GET, HTTP, PATH, A, ("content-length", "0")], OK),
        // What h2 does not decode ends the connection (docs/http.md).
        (&[GET, HTTP, PATH, A, ("X", "y")], AWAY),
        (&[GET, HTTP, PATH, A, ("x y", "z")], AWAY),
        (&[GET, HTTP, PATH, A, ("x", "y\r\nz: 1")], AWAY),
        (&[GET, HTTP, PATH, A, (":x", "y")], AWAY),
    ];
    for (fields, expected) in rows {
        assert_eq!(outcome(lab.address, fields).await, *expected, "{fields:?}");
    }
    lab.finish().await;
}

#[tokio::test]
async fn what_is_pipelined_is_judged_like_the_first() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    for (index, first) in SOUND.iter().enumerate() {
        let second = SOUND[(index + 1) % SOUND.len()];
        for (request, status, word) in UNSOUND {
            for ahead in [vec![], vec![*first], vec![*first, second]] {
                let text = [&ahead.concat(), *request, SOUND[0]].concat();
                let mut client = Raw::connect(lab.address).await;
                client.send(&text).await;
                for sound in &ahead {
                    assert_eq!(client.reply().await.status(), "200", "{sound:?} of {text:?}");
                }
                let reply = client.reply().await;
                assert_eq!(reply.status(), *status, "{text:?}: {reply:?}");
                assert_eq!(reply.header("fly-error"), Some(*word), "{text:?}");
                assert_eq!(reply.header("connection"), Some("close"), "{text:?}");
                assert!(client.rest().await.is_empty(), "{text:?} has one answer more");
            }
        }
    }
    lab.finish().await;
}

#[tokio::test]
async fn a_pipelined_header_section_has_its_time_as_well() {
    let backend = backend::echo().await;
    let mut start = Start::new(Plan::http(&[backend.address]));
    start.settings.header_timeout = Duration::from_millis(50);
    let lab = start.start();
    let mut client = Raw::connect(lab.address).await;
    client.send([SOUND[1], "GET / HT"].concat()).await;
    assert_eq!(client.reply().await.status(), "200");
    let reply = client.reply().await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("408", Some("slow-header")));
    lab.finish().await;
}

#[tokio::test]
async fn a_target_may_be_too_long_for_a_header_section_that_is_not() {
    let backend = backend::echo().await;
    let mut start = Start::new(Plan::http(&[backend.address]));
    start.settings.max_header_size = 256 * 1024;
    let lab = start.start();
    let mut client = Raw::connect(lab.address).await;
    let reply = client.get(&format!("/{}", "x".repeat(70_000)), "").await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("414", Some("target-too-long")));
    assert!(client.rest().await.is_empty());
    lab.finish().await;
}

#[tokio::test]
async fn a_header_section_over_http2_may_be_too_large() {
    let backend = backend::echo().await;
    let mut start = Start::new(Plan::http(&[backend.address]));
    start.settings.max_header_size = 8 * 1024;
    let lab = start.start();
    let mut sender = http2(TcpStream::connect(lab.address).await.unwrap()).await;
    // 32 bytes are counted for each line beside its own.
    for (length, status, word) in [(60, 200, None), (70, 431, Some("header-too-large"))] {
        let mut request = client::request("/", Empty::<Bytes>::new());
        for line in 0..80 {
            let name = format!("x-{line:03}").parse::<hyper::header::HeaderName>().unwrap();
            request.headers_mut().insert(name, "y".repeat(length).parse().unwrap());
        }
        let response = sender.send_request(request).await.unwrap();
        let said = response.headers().get("fly-error").map(|word| word.to_str().unwrap());
        assert_eq!((response.status().as_u16(), said), (status, word));
    }
    lab.finish().await;
}
