//! What servers may answer and what becomes of it: framing (RFC 9112 6.3), responses without a body
//! (RFC 9110 6.4.1), and clients of HTTP/1.0.

use tokio::io::AsyncWriteExt;

use crate::proxy::tests::actors::{
    backend::{self, Listening},
    client::Raw,
    lab::Lab,
};

/// The first connection gets `answer` to everything, and ends where that `ends`; later ones say
/// `fresh`.
async fn answering(answer: &'static str, ends: bool) -> Listening {
    backend::raw(move |mut stream, number| async move {
        while !backend::read_head(&mut stream).await.is_empty() {
            let fresh = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh";
            let answer = if number == 0 { answer } else { fresh };
            stream.write_all(answer.as_bytes()).await.unwrap();
            if ends && number == 0 {
                return;
            }
        }
    })
    .await
}

/// One request, and what a client sees of its response.
struct Row {
    request: &'static str,
    answer: &'static str,
    /// The server ends its connection.
    ends: bool,
    /// The status line, the body as it was framed, and lines that are there or, with `!`, are not.
    seen: (&'static str, &'static str, &'static [&'static str]),
    /// The server's connection takes another request.
    is_kept: bool,
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
const OLD_KEPT: &str = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
const LAST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

const OK: &str = "http/1.1 200 ok";
const BAD: (&str, &str, &[&str]) = (
    "http/1.1 502 bad gateway",
    "502 Bad Gateway: the backend's response is not valid HTTP/1.1\n",
    &["fly-error: backend-bad-response", "!connection"],
);

const ROWS: &[Row] = &[
    // Two framings: the chunks count, the length is not passed on, and the connection serves nobody
    // else (RFC 9112 6.3): where the next response begins may be in doubt.
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ends: false,
        seen: (OK, "2\r\nhi\r\n0\r\n\r\n", &["!content-length", "transfer-encoding: chunked"]),
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nhi!",
        ends: false,
        seen: BAD,
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
        ends: false,
        seen: BAD,
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX : y\r\n\r\nhi",
        ends: false,
        seen: BAD,
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\n b\r\n\r\nhi",
        ends: false,
        seen: BAD,
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\0b\r\n\r\nhi",
        ends: false,
        seen: BAD,
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        ends: false,
        seen: BAD,
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nhi",
        ends: false,
        seen: BAD,
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ends: false,
        seen: BAD,
        is_kept: false,
    },
    // What follows a response is none.
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ends: false,
        seen: (OK, "hi", &["content-length: 2"]),
        is_kept: false,
    },
    // Until the end of the connection.
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\n\r\nhi",
        ends: true,
        seen: (OK, "2\r\nhi\r\n0\r\n\r\n", &["transfer-encoding: chunked"]),
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/1.0 200 OK\r\n\r\nhi",
        ends: true,
        seen: (OK, "2\r\nhi\r\n0\r\n\r\n", &["transfer-encoding: chunked", "!connection"]),
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
        ends: false,
        seen: (OK, "hi", &["content-length: 2", "!connection"]),
        is_kept: false,
    },
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
        ends: false,
        seen: (OK, "hi", &["!connection"]),
        is_kept: false,
    },
    // Without a body, whatever is said of one.
    Row {
        request: GET,
        answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
        ends: false,
        seen: ("http/1.1 204 no content", "", &["!content-length", "!transfer-encoding"]),
        is_kept: true,
    },
    Row {
        request: GET,
        answer: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        ends: false,
        seen: ("http/1.1 204 no content", "", &["!content-length", "!transfer-encoding"]),
        is_kept: true,
    },
    Row {
        request: GET,
        answer: "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
        ends: false,
        seen: (
            "http/1.1 304 not modified",
            "",
            &["etag: x", "!content-length", "!transfer-encoding"],
        ),
        is_kept: true,
    },
    Row {
        request: HEAD,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        ends: false,
        seen: (OK, "", &["content-length: 2"]),
        is_kept: true,
    },
    Row {
        request: HEAD,
        answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ends: false,
        seen: (OK, "", &["!content-length", "!transfer-encoding"]),
        is_kept: true,
    },
    Row {
        request: HEAD,
        answer: "HTTP/1.1 200 OK\r\n\r\n",
        ends: false,
        seen: (OK, "", &["!content-length", "!transfer-encoding"]),
        is_kept: true,
    },
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ends: false,
        seen: (OK, "", &["content-length: 0"]),
        is_kept: true,
    },
    // What is about one connection alone, and what only we may say.
    Row {
        request: GET,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTE: trailers\r\nFly-Error: bad-host\r\n\r\nhi",
        ends: false,
        seen: (OK, "hi", &["!te: trailers", "!fly-error"]),
        is_kept: true,
    },
    // HTTP/1.0 knows no chunks, and keeps nothing unless asked.
    Row {
        request: OLD,
        answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ends: false,
        seen: ("http/1.0 200 ok", "hi", &["!transfer-encoding", "!content-length"]),
        is_kept: true,
    },
    Row {
        request: OLD,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        ends: false,
        seen: ("http/1.0 200 ok", "hi", &["content-length: 2", "!connection: keep-alive"]),
        is_kept: true,
    },
    Row {
        request: OLD_KEPT,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        ends: false,
        seen: ("http/1.0 200 ok", "hi", &["content-length: 2", "connection: keep-alive"]),
        is_kept: true,
    },
    Row {
        request: OLD_KEPT,
        answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ends: false,
        seen: ("http/1.0 200 ok", "hi", &["!transfer-encoding", "!content-length"]),
        is_kept: true,
    },
    Row {
        request: LAST,
        answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        ends: false,
        seen: (OK, "hi", &["connection: close"]),
        is_kept: true,
    },
];

#[tokio::test]
async fn every_answer_is_framed_anew() {
    for Row { request, answer, ends, seen: (status, body, lines), is_kept } in ROWS {
        let case = format!("{request:?} {answer:?}");
        let backend = answering(answer, *ends).await;
        let lab = Lab::http(&[backend.address]);
        let mut client = Raw::connect(lab.address).await;
        client.send(request).await;
        let head = client.head().await;
        let (first, rest) = head.split_once("\r\n").unwrap();
        assert_eq!(first, *status, "{case}: {head}");
        for line in *lines {
            match line.strip_prefix('!') {
                Some(absent) => assert!(!rest.contains(absent), "{case}: {head}"),
                None => assert!(rest.contains(line), "{case}: {head}"),
            }
        }
        let got = client.take(body.len()).await;
        assert_eq!(String::from_utf8_lossy(&got), *body, "{case}");
        // A connection that stays is at its next response, one that ends has nothing more.
        let is_chunkless = *request == OLD_KEPT && answer.contains("chunked");
        if [OLD, LAST].contains(request) || is_chunkless {
            assert!(client.rest().await.is_empty(), "{case}: bytes that nobody expects");
        } else {
            client.send(request).await;
            let again = client.head().await;
            assert!(again.starts_with("http/1."), "{case}: {again}");
        }
        drop(client);
        let mut client = Raw::connect(lab.address).await;
        client.send(request).await;
        let fresh = client.head().await.contains("content-length: 5\r\n");
        assert_eq!(fresh, !is_kept, "{case}");
        assert_eq!(backend.accepted() == 1, *is_kept, "{case}");
        drop(client);
        lab.finish().await;
    }
}
