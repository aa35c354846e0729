//! What a kept connection to a server carries from one exchange to the next: nothing.
//!
//! community.fly.io/t/26931 (HTTP/1.0 stays for good), aio-libs/aiohttp#13656 and
//! projectdiscovery/nuclei#7671 (answers that nobody asked for), oven-sh/bun#37436 (bytes behind
//! the last chunk).

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::proxy::tests::actors::{
    backend::{self, Listening},
    client::{self, Raw},
    lab::Lab,
};

/// The first request's method, the answer to it, and whether the connection serves the next.
const TABLE: &[(&str, &str, bool)] = &[
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
    ("GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", false),
    ("GET", "HTTP/1.0 304 Not Modified\r\nConnection: keep-alive\r\n\r\n", false),
    ("HEAD", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n", false),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
    ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", true),
    ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", false),
    ("GET", "HTTP/1.1 204 No Content\r\n\r\n", true),
    ("GET", "HTTP/1.1 204 No Content\r\n\r\nok", false),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nConnection: close\r\n\r\n",
        true,
    ),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\r\n", false),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        false,
    ),
    (
        "GET",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n",
        false,
    ),
    (
        "GET",
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        true,
    ),
    ("GET", "HTTP/1.0 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
    (
        "GET",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        false,
    ),
];

/// Answers `/first` with `first`, and everything else with the connection's number, the request
/// line and the body, which comes in chunks.
async fn server(first: &'static str) -> Listening {
    backend::raw(move |mut stream, number| async move {
        loop {
            let head = backend::read_head(&mut stream).await.to_lowercase();
            if head.is_empty() {
                return;
            }
            if head.contains(" /first ") {
                stream.write_all(first.as_bytes()).await.unwrap();
                continue;
            }
            let mut body = Vec::new();
            while head.contains("transfer-encoding: chunked") && !body.ends_with(b"0\r\n\r\n") {
                body.push(stream.read_u8().await.unwrap());
            }
            let line = head.lines().next().unwrap();
            let text =
                format!("{number} {line} {}", String::from_utf8(body).unwrap().escape_debug());
            let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                Upgrade: websocket\r\n\r\n";
            let answer = if head.contains("upgrade: websocket") && line.ends_with("http/1.1") {
                format!("{switched}{number}")
            } else {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

/// Has the proxy make its first request to the server.
async fn begin(lab: &Lab, method: &str) {
    let mut client = Raw::connect(lab.address).await;
    client.send(format!("{method} /first HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    client.rest().await;
}

#[tokio::test]
async fn a_body_in_chunks_arrives_whole_after_any_answer() {
    for (method, first, is_kept) in TABLE {
        let backend = server(first).await;
        let lab = Lab::http(&[backend.address]);
        begin(&lab, method).await;
        let mut client = Raw::connect(lab.address).await;
        client
            .send("POST /next HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
            .await;
        let number = u8::from(!is_kept);
        let expected = format!("{number} post /next http/1.1 5\\r\\nhello\\r\\n0\\r\\n\\r\\n");
        assert_eq!(client.reply().await.body, expected, "after {method} and {first:?}");
        lab.finish().await;
    }
}

#[tokio::test]
async fn so_does_one_of_unknown_length_by_http2() {
    for (method, first, is_kept) in TABLE {
        let backend = server(first).await;
        let lab = Lab::http(&[backend.address]);
        begin(&lab, method).await;
        let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
        let parts = [Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from("hello")))];
        let body = StreamBody::new(futures_util::stream::iter(parts));
        let mut request = client::request("/next", body);
        *request.method_mut() = hyper::Method::POST;
        let text = client::text(sender.send_request(request).await.unwrap()).await;
        let number = u8::from(!is_kept);
        let expected = format!("{number} post /next http/1.1 5\\r\\nhello\\r\\n0\\r\\n\\r\\n");
        assert_eq!(text, expected, "after {method} and {first:?}");
        lab.finish().await;
    }
}

#[tokio::test]
async fn so_does_an_upgrade() {
    for (method, first, is_kept) in TABLE {
        let backend = server(first).await;
        let lab = Lab::http(&[backend.address]);
        begin(&lab, method).await;
        let mut client = Raw::connect(lab.address).await;
        client
            .send(
                "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            )
            .await;
        let head = client.head().await;
        assert!(head.starts_with("http/1.1 101 "), "{head} after {method} and {first:?}");
        assert_eq!(client.take(1).await, [b'0' + u8::from(!is_kept)]);
        drop(client);
        lab.finish().await;
    }
}

/// What comes while the connection is idle ends it.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_nobodys() {
    let (closed, mut was_closed) = tokio::sync::mpsc::unbounded_channel();
    let backend = backend::raw(move |mut stream, number| {
        let closed = closed.clone();
        async move {
            backend::read_head(&mut stream).await;
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n";
            stream.write_all(format!("{answer}{number}").as_bytes()).await.unwrap();
            if number == 0 {
                // After the answer has been taken, and before another is due.
                tokio::time::sleep(client::A_MOMENT).await;
                let _ = stream.write_all(format!("{answer}X").as_bytes()).await;
            }
            let _ = stream.read(&mut [0; 64]).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    assert_eq!(client.get("/", "").await.body, "0");
    was_closed.recv().await.unwrap();
    assert_eq!(client.get("/", "").await.body, "1");
    lab.finish().await;
}
