//! What clients of every version get of what servers answer (RFC 9112 6.3, RFC 9113 8.1).

use std::convert::Infallible;

use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::{HeaderMap, body::Bytes};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::proxy::tests::actors::{
    backend::{self, Listening},
    client::{self, Raw, http2},
    lab::Lab,
};

/// What a server answers to what method, the status by either version of HTTP, why it is ours, and
/// what there is of a body.
const ANSWERS: &[(&str, &str, &str, Option<&str>, &str)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", "200", None, "ok"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", "200", None, ""),
    ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "HEAD", "200", None, ""),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", "200", None, ""),
    ("HTTP/1.1 204 No Content\r\n\r\n", "GET", "204", None, ""),
    ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n", "GET", "304", None, ""),
    ("HTTP/1.1 200 OK\r\n\r\nto the end", "GET", "200", None, "to the end"),
    ("HTTP/1.0 200 OK\r\n\r\nto the end", "GET", "200", None, "to the end"),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "GET",
        "200",
        None,
        "ok",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "GET",
        "200",
        None,
        "ok",
    ),
    (
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "GET",
        "200",
        None,
        "ok",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "GET",
        "502",
        Some("backend-transfer-encoding"),
        "",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET",
        "502",
        Some("backend-transfer-encoding"),
        "",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "GET",
        "502",
        Some("backend-transfer-encoding"),
        "",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nto the end",
        "GET",
        "502",
        Some("backend-transfer-encoding"),
        "",
    ),
    (
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET",
        "502",
        Some("backend-bad-response"),
        "",
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
        "GET",
        "502",
        Some("backend-bad-response"),
        "",
    ),
    (
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET",
        "502",
        Some("backend-bad-response"),
        "",
    ),
];

/// A server that says `answer` to each request, and nothing more.
async fn answering(answer: String) -> Listening {
    backend::raw(move |mut stream, _| {
        let answer = answer.clone();
        async move {
            backend::read_head(&mut stream).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await
}

#[tokio::test]
async fn responses() {
    for (answer, method, status, word, body) in ANSWERS {
        let backend = answering((*answer).to_owned()).await;
        let lab = Lab::http(&[backend.address]);
        for version in ["1.0", "1.1"] {
            let mut client = Raw::connect(lab.address).await;
            let request =
                format!("{method} / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n");
            client.send(request).await;
            let head = client.head().await;
            let case = format!("{answer:?} by HTTP/{version}: {head}");
            // By HTTP/1.1 the client hears what comes first.
            let head = if head.contains(" 103 ") { client.head().await } else { head };
            assert_eq!(head.split(' ').nth(1), Some(*status), "{case}");
            let said = word.is_none_or(|word| head.contains(&format!("fly-error: {word}\r\n")));
            assert!(said, "{case}");
            assert!(!head.contains("gzip"), "{case}");
            let rest = String::from_utf8(client.rest().await).unwrap();
            assert!(word.is_some() || rest.contains(body), "{case}: {rest:?}");
        }
        let mut sender = http2(TcpStream::connect(lab.address).await.unwrap()).await;
        let mut request = client::request("/", BoxBody::<Bytes, Infallible>::default());
        *request.method_mut() = method.parse().unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (head, rest) = response.into_parts();
        let case = format!("{answer:?} by HTTP/2: {head:?}");
        assert_eq!(head.status.as_str(), *status, "{case}");
        assert_eq!(said(&head.headers), *word, "{case}");
        let rest = rest.collect().await.unwrap().to_bytes();
        assert!(word.is_some() || rest == body.as_bytes(), "{case}: {rest:?}");
        lab.finish().await;
    }
}

fn said(headers: &HeaderMap) -> Option<&str> {
    headers.get("fly-error").map(|word| word.to_str().unwrap())
}

#[tokio::test]
async fn as_many_lines_of_a_response_as_of_a_request() {
    for (lines, status, word) in [(99, "200", None), (100, "502", Some("backend-header-too-large"))]
    {
        let many: String = (0..lines).map(|line| format!("X-{line}: y\r\n")).collect();
        let backend =
            answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{many}\r\nok")).await;
        let lab = Lab::http(&[backend.address]);
        let reply = Raw::connect(lab.address).await.get("/", "").await;
        assert_eq!((reply.status(), reply.header("fly-error")), (status, word));
        lab.finish().await;
    }
}

/// An answer to HTTP/1.0 may end with the connection: one that breaks off does not end in order.
#[tokio::test]
async fn half_an_answer_does_not_look_like_a_whole_one() {
    let backend = backend::raw(|mut stream, _| async move {
        backend::read_head(&mut stream).await;
        let half = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        stream.write_all(half.as_bytes()).await.unwrap();
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let head = client.head().await;
    assert!(!head.contains("content-length"), "{head}");
    assert_eq!(client.take(5).await, b"hello");
    let end = client.stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    lab.finish().await;
}
