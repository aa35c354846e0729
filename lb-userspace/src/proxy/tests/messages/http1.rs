use http_body_util::{BodyExt, StreamBody};
use hyper::{Response, body::Frame};
use tokio::{io::AsyncWriteExt, sync::mpsc};

use crate::proxy::tests::actors::{
    backend,
    client::{self, A_MOMENT, Raw},
    lab::{Lab, Plan, Start},
};

#[tokio::test]
async fn requests_of_many_clients_share_one_kept_connection() {
    let backend = backend::saying("hello").await;
    let lab = Lab::http(&[backend.address]);
    for _ in 0..3 {
        let mut client = Raw::connect(lab.address).await;
        for _ in 0..3 {
            let reply = client.get("/", "").await;
            assert_eq!((reply.status(), &*reply.body), ("200", "hello"));
        }
    }
    assert_eq!(backend.accepted(), 1);
    assert_eq!(lab.connections(), [9]);
    assert_eq!(lab.tally(), (9, 0));
    lab.finish().await;
}

#[tokio::test]
async fn a_chunked_response_leaves_its_connection_reusable() {
    let backend = backend::raw(|mut stream, _| async move {
        loop {
            if backend::read_head(&mut stream).await.is_empty() {
                return;
            }
            let reply =
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    for _ in 0..3 {
        let reply = client.get("/", "").await;
        assert_eq!(reply.body, "3\r\nabc\r\n0\r\n\r\n");
    }
    assert_eq!(backend.accepted(), 1);
    lab.finish().await;
}

#[tokio::test]
async fn an_old_backend_does_not_make_the_connection_an_old_one() {
    let backend = backend::raw(|mut stream, _| async move {
        backend::read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end").await.unwrap();
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    for _ in 0..2 {
        let reply = client.get("/", "").await;
        assert!(reply.head.starts_with("http/1.1 200 "), "{}", reply.head);
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
        assert!(reply.body.contains("until the end"), "{}", reply.body);
    }
    lab.finish().await;
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let backend = backend::http(|request| async move {
        Response::new(request.into_body().map_err(|_| unreachable!()).boxed())
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    for part in ["one", "two", "three"] {
        let chunk = format!("{:x}\r\n{part}\r\n", part.len());
        client.send(&chunk).await;
        assert_eq!(client.take(chunk.len()).await, chunk.as_bytes());
        assert_eq!(lab.counts(), [1]);
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.take(5).await, b"0\r\n\r\n");
    lab.finish().await;
}

#[tokio::test]
async fn an_upload_goes_on_while_nobody_reads_the_response() {
    const SIZE: usize = 16 << 20;
    let backend = backend::http(|request| async move {
        Response::new(request.into_body().map_err(|_| unreachable!()).boxed())
    })
    .await;
    // The backend echoes as it reads: it stops reading once its own sending is stuck, unless
    // somebody takes the response. The client here takes it only after a third of the upload.
    let lab = Lab::http(&[backend.address]);
    let client = Raw::connect(lab.address).await;
    let (read, mut write) = client.stream.into_split();
    let upload = tokio::spawn(async move {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        write.write_all(&vec![7; SIZE]).await.unwrap();
        write
    });
    tokio::time::sleep(A_MOMENT).await;
    let mut answer = Raw::over(tokio::io::join(read, tokio::io::sink()));
    answer.head().await;
    // Chunked framing makes it longer.
    assert!(answer.take(SIZE).await.len() == SIZE);
    upload.await.unwrap();
    drop(answer);
    lab.finish().await;
}

#[tokio::test]
async fn a_stream_arrives_frame_by_frame_and_ends_when_the_client_goes() {
    let (frames, source) = mpsc::channel::<&'static str>(1);
    let source = std::sync::Arc::new(tokio::sync::Mutex::new(source));
    let backend = backend::http(move |_| {
        let source = source.clone();
        async move {
            let frames = futures_util::stream::unfold(source, |source| async move {
                let text = source.lock().await.recv().await?;
                Some((Ok(Frame::data(text.into())), source))
            });
            Response::new(BodyExt::boxed(StreamBody::new(Box::pin(SyncStream(Box::pin(frames))))))
        }
    })
    .await;
    let mut start = Start::new(Plan::http(&[backend.address]));
    start.settings.termination_delay = Some(A_MOMENT);
    let lab = start.start();
    let mut client = Raw::connect(lab.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await;
    frames.send("first").await.unwrap();
    assert_eq!(client.take(10).await, b"5\r\nfirst\r\n");
    assert_eq!(lab.counts(), [1]);
    drop(client);
    lab.until("the exchange goes on", |lab| lab.counts() == [0]).await;
    lab.finish().await;
}

/// The stream is polled by one task only.
struct SyncStream<S>(std::pin::Pin<Box<S>>);

impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

#[tokio::test]
async fn responses_without_a_body_free_the_connection_at_once() {
    let backend = backend::raw(|mut stream, _| async move {
        loop {
            let head = backend::read_head(&mut stream).await;
            let reply = match head.split(' ').nth(1) {
                Some("/head") => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
                Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n",
                _ => return,
            };
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.contains("content-length: 12345"), "{head}");
    for path in ["/204", "/304"] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("http/1.1 {}", &path[1..])), "{head}");
    }
    assert_eq!(backend.accepted(), 1);
    lab.finish().await;
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_before_it_sends() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert_eq!(client.head().await, "http/1.1 100 continue\r\n\r\n");
    client.send("body").await;
    let reply = client.reply().await;
    assert!(reply.body.ends_with("\n\nbody"), "{reply:?}");
    lab.finish().await;
}

#[tokio::test]
async fn both_framings_at_once_are_refused() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n",
        )
        .await;
    let reply = client.reply().await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("400", Some("two-framings")));
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(client.rest().await, b"");
    assert_eq!(backend.accepted(), 0);
    lab.finish().await;
}

#[tokio::test]
async fn http10_clients_get_answers_they_understand() {
    let backend = backend::saying("hello").await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    lab.finish().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.reply().await.body.starts_with("GET /1 "));
    assert!(client.reply().await.body.starts_with("GET /2 "));
    lab.finish().await;
}

#[tokio::test]
async fn after_101_bytes_pass_both_ways_and_count_as_load() {
    let backend = backend::raw(|mut stream, _| async move {
        let head = backend::read_head(&mut stream).await.to_lowercase();
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        assert!(head.contains("upgrade: websocket\r\n"), "{head}");
        let reply = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\n\r\nwelcome";
        stream.write_all(reply.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        write.write_all(b"bye").await.unwrap();
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client
        .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        .await;
    let head = client.head().await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: websocket"), "{head}");
    assert_eq!(client.take(12).await, b"welcomeearly");
    client.send("ping").await;
    assert_eq!(client.take(4).await, b"ping");
    assert_eq!(lab.counts(), [1]);
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"bye");
    lab.finish().await;
}

/// A client that ends its side after its request, and a server that answers when `answer` is told
/// to. envoyproxy/envoy#2066, envoyproxy/envoy#17160.
#[tokio::test]
async fn a_client_that_ends_its_side_gets_its_answers() {
    const LAST: &str = "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    for first in [
        "",
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        let (answer, when) = tokio::sync::watch::channel(false);
        let backend = backend::http(move |request| {
            let mut when = when.clone();
            async move {
                when.wait_for(|&is_told| is_told).await.unwrap();
                let path = request.uri().path().to_owned();
                request.into_body().collect().await.unwrap();
                Response::new(backend::full(path))
            }
        })
        .await;
        let lab = Lab::http(&[backend.address]);
        let mut client = Raw::connect(lab.address).await;
        client.send([first, LAST].concat()).await;
        client.stream.shutdown().await.unwrap();
        lab.until("the request is under way", |lab| lab.counts() == [1]).await;
        tokio::time::sleep(A_MOMENT).await;
        answer.send_replace(true);
        for path in ["/1", "/2"].iter().skip(usize::from(first.is_empty())) {
            assert_eq!(client.reply().await.body, *path, "{first:?}");
        }
        assert!(client.rest().await.is_empty());
        drop(client);
        lab.finish().await;
    }
}

#[tokio::test]
async fn a_client_that_ends_amid_its_request_gets_none() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    for part in [
        "GET / HTT",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
    ] {
        let mut client = Raw::connect(lab.address).await;
        client.send(part).await;
        client.stream.shutdown().await.unwrap();
        let rest = String::from_utf8(client.rest().await).unwrap();
        assert!(!rest.contains(" 200 "), "{part:?}: {rest}");
    }
    lab.finish().await;
}

#[tokio::test]
async fn over_tls_too() {
    let backend = backend::saying("hello").await;
    let mut start = Start::new(Plan::https(&[backend.address]));
    let (cert, key) = client::certificate(&["app.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    let lab = start.start();
    let config = client::tls_config(&[&cert], &["http/1.1"]);
    let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
    let mut client = Raw::over(stream);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // With close_notify.
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.reply().await.body, "hello");
    assert!(client.rest().await.is_empty());
    lab.finish().await;
}
