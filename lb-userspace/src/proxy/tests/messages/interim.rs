//! What backends say before their response: whether they want the body, and hints for the client.

use http_body_util::Full;
use hyper::body::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use crate::proxy::tests::actors::{
    backend::{self, Listening, read_head},
    client::{self, Raw, http2},
    lab::Lab,
};

const ASKS: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n";
const DONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

/// A backend that reads a header section, says `first`, reads a body of five bytes where that
/// continues, and says `then`. It tells each header section, and what came after it.
async fn deciding(
    first: &'static str,
    then: &'static str,
) -> (Listening, mpsc::UnboundedReceiver<(String, String)>) {
    let (tell, told) = mpsc::unbounded_channel();
    let backend = backend::raw(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            loop {
                let head = read_head(&mut stream).await.to_lowercase();
                if head.is_empty() {
                    return;
                }
                stream.write_all(first.as_bytes()).await.unwrap();
                let mut body = String::new();
                if then.is_empty() {
                    stream.read_to_string(&mut body).await.unwrap();
                } else {
                    let mut five = [0; 5];
                    stream.read_exact(&mut five).await.unwrap();
                    body = String::from_utf8(five.into()).unwrap();
                    stream.write_all(then.as_bytes()).await.unwrap();
                }
                tell.send((head, body)).unwrap();
            }
        }
    })
    .await;
    (backend, told)
}

#[tokio::test]
async fn a_backend_that_wants_the_body_says_so_to_the_client() {
    let (backend, mut told) = deciding("HTTP/1.1 100 Continue\r\n\r\n", DONE).await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    for _ in 0..2 {
        client.send(ASKS).await;
        assert_eq!(client.head().await, "http/1.1 100 continue\r\n\r\n");
        client.send("hello").await;
        assert_eq!(client.reply().await.body, "done");
        let (head, body) = told.recv().await.unwrap();
        assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
        assert_eq!(body, "hello");
    }
    assert_eq!(backend.accepted(), 1, "the connection is kept");
    lab.finish().await;
}

#[tokio::test]
async fn a_backend_that_does_not_want_the_body_never_gets_it() {
    for first in [
        "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 302 Found\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    ] {
        let (backend, mut told) = deciding(first, "").await;
        let lab = Lab::http(&[backend.address]);
        let mut client = Raw::connect(lab.address).await;
        client.send(ASKS).await;
        let reply = client.reply().await;
        assert!(first.contains(reply.status()) && reply.body.contains("no"), "{reply:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{reply:?}");
        // Whoever sends it all the same sends it to nobody, and is not taken for another request.
        client.send_to("hello").await;
        assert!(client.rest().await.is_empty());
        drop(client);
        let (head, body) = told.recv().await.unwrap();
        assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
        assert_eq!(body, "");
        lab.finish().await;
    }
}

/// As one that streams does: it has said by its status that it reads on.
#[tokio::test]
async fn a_backend_that_agrees_and_then_reads_gets_the_body() {
    let (backend, mut told) =
        deciding("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "done").await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send(ASKS).await;
    assert!(client.head().await.starts_with("http/1.1 200 "));
    client.send("hello").await;
    assert_eq!(client.take(4).await, b"done");
    assert_eq!(told.recv().await.unwrap().1, "hello");
    drop(client);
    lab.finish().await;
}

#[tokio::test]
async fn over_http2_the_body_waits_for_the_backend_as_well() {
    let refusal = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
    let (backend, mut told) = deciding(refusal, "").await;
    let lab = Lab::http(&[backend.address]);
    let mut sender = http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let mut request = client::request("/", Full::new(Bytes::from_static(b"hello")));
    *request.method_mut() = hyper::Method::POST;
    request.headers_mut().insert("expect", "100-continue".parse().unwrap());
    assert_eq!(sender.send_request(request).await.unwrap().status(), 417);
    assert_eq!(told.recv().await.unwrap().1, "");
    lab.finish().await;
}

#[tokio::test]
async fn a_backend_that_does_not_know_the_question_gets_the_body_in_time() {
    let (backend, mut told) = deciding("", DONE).await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send(ASKS).await;
    assert_eq!(client.head().await, "http/1.1 100 continue\r\n\r\n");
    client.send("hello").await;
    assert_eq!(client.reply().await.body, "done");
    assert_eq!(told.recv().await.unwrap().1, "hello");
    // HTTP/1.0 does not know it either.
    let mut old = Raw::connect(lab.address).await;
    old.send(ASKS.replace("1.1", "1.0") + "hello").await;
    assert!(old.reply().await.head.starts_with("http/1.0 200 "));
    assert!(!told.recv().await.unwrap().0.contains("expect"));
    lab.finish().await;
}

const HINTS: [&str; 2] = [
    "HTTP/1.1 102 Processing\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\
     Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\n",
];

/// As a client sees them.
const SEEN: [&str; 2] = [
    "http/1.1 102 processing\r\n\r\n",
    "http/1.1 103 early hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>; rel=preload\r\n\r\n",
];

#[tokio::test]
async fn hints_reach_the_client_before_the_response() {
    // Each at its own time, and all at once.
    let (go, gone) = mpsc::unbounded_channel::<()>();
    let gone = std::sync::Arc::new(tokio::sync::Mutex::new(gone));
    let backend = backend::raw(move |mut stream, _| {
        let gone = gone.clone();
        async move {
            while !read_head(&mut stream).await.is_empty() {
                for hint in HINTS {
                    stream.write_all(hint.as_bytes()).await.unwrap();
                    gone.lock().await.recv().await;
                }
                stream.write_all(DONE.as_bytes()).await.unwrap();
                read_head(&mut stream).await;
                stream.write_all([&HINTS.concat(), DONE].concat().as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for pipelined in [false, true] {
        client.send(if pipelined { request.repeat(2) } else { request.to_owned() }).await;
        for seen in SEEN {
            assert_eq!(client.head().await, seen);
            go.send(()).unwrap();
        }
        assert_eq!(client.reply().await.body, "done");
        if !pipelined {
            client.send(request).await;
        }
        for seen in SEEN {
            assert_eq!(client.head().await, seen);
        }
        assert_eq!(client.reply().await.body, "done");
    }
    lab.finish().await;
}

#[tokio::test]
async fn who_speaks_http_1_0_gets_no_hints() {
    let backend = backend::raw(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all([HINTS[1], DONE].concat().as_bytes()).await.unwrap();
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.starts_with("http/1.0 200 "));
    lab.finish().await;
}

#[tokio::test]
async fn hints_and_the_word_to_continue_come_in_their_order() {
    let first = "HTTP/1.1 103 Early Hints\r\nX-Number: 1\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let then = "HTTP/1.1 103 Early Hints\r\nX-Number: 2\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let (backend, _told) = deciding(first, then).await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send(ASKS).await;
    // Whichever of the first two is heard first, each comes whole.
    let mut heads = [client.head().await, client.head().await];
    heads.sort();
    assert_eq!(heads[0], "http/1.1 100 continue\r\n\r\n");
    assert_eq!(heads[1], "http/1.1 103 early hints\r\nx-number: 1\r\n\r\n");
    client.send("hello").await;
    assert_eq!(client.head().await, "http/1.1 103 early hints\r\nx-number: 2\r\n\r\n");
    assert!(client.head().await.starts_with("http/1.1 204 "));
    lab.finish().await;
}
