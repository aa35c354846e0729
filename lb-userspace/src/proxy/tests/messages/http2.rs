use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes_body::Parts;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::{
    Response, Version,
    body::{Bytes, Frame},
};
use tokio::net::TcpStream;

use crate::proxy::tests::actors::{
    backend::{self, full},
    client::{self, Raw},
    lab::{Lab, Plan, Start},
};

/// A body of parts that a test sends one by one.
mod bytes_body {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::body::{Bytes, Frame};
    use tokio::sync::mpsc;

    type Item = Result<Frame<Bytes>, Infallible>;

    pub(super) struct Parts(pub mpsc::UnboundedSender<Item>);

    impl Parts {
        pub(super) fn body()
        -> (Self, impl hyper::body::Body<Data = Bytes, Error = Infallible> + Unpin + Send) {
            let (sender, mut receiver) = mpsc::unbounded_channel();
            let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
            (Self(sender), StreamBody::new(stream))
        }

        pub(super) fn send(&self, text: &'static str) {
            self.0.send(Ok(Frame::data(Bytes::from(text)))).unwrap();
        }
    }
}

#[tokio::test]
async fn alpn_gives_http2_and_the_backend_gets_http11() {
    let backend = backend::echo().await;
    let mut start = Start::new(Plan::https(&[backend.address]));
    let (cert, key) = client::certificate(&["app.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    let lab = start.start();
    let config = client::tls_config(&[&cert], &["h2"]);
    let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
    let mut sender = client::http2(stream).await;
    let response =
        sender.send_request(client::request("/x?y", Empty::<Bytes>::new())).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let text = client::text(response).await;
    assert_eq!(text.lines().next(), Some("GET /x?y HTTP/1.1"));
    assert!(text.contains("\nhost: app.example.com\n"), "{text}");
    assert!(text.contains("\nx-forwarded-proto: https\n"), "{text}");
    lab.finish().await;
}

#[tokio::test]
async fn prior_knowledge_works_on_a_plain_port() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let mut sender = client::http2(stream).await;
    let body = Full::new(Bytes::from_static(b"hello"));
    let response = sender.send_request(client::request("/", body)).await.unwrap();
    assert!(client::text(response).await.ends_with("\n\nhello"));
    lab.finish().await;
}

/// h2 resets such a stream alone, without a look at its fields, and reads the next one's by another
/// table than the client's.
#[tokio::test]
async fn a_stream_that_depends_on_itself_ends_the_connection() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    // The bit before a stream's number means nothing.
    for reserved in [b"\x00", b"\x80"] {
        let mut client = Raw::connect(lab.address).await;
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let head = [b"\0\0\x08\x01\x25", &reserved[..], b"\0\0\x01"].concat();
        client.send([&head[..], b"\0\0\0\x01\x10\x82\x84\x86"].concat()).await;
        let frames = client.rest().await;
        assert!(frames.windows(5).any(|it| it[2..] == [8, 7, 0]), "no GOAWAY: {frames:?}");
    }
    lab.finish().await;
}

#[tokio::test]
async fn many_streams_at_once_each_get_their_own_answer() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend.address]);
    let sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let asks = (0..300).map(|number| {
        let mut sender = sender.clone();
        async move {
            let request = client::request(&format!("/{number}"), Empty::<Bytes>::new());
            let text = client::text(sender.send_request(request).await.unwrap()).await;
            assert!(text.starts_with(&format!("GET /{number} ")), "{text}");
        }
    });
    futures_util::future::join_all(asks).await;
    assert_eq!(lab.tally(), (300, 0));
    lab.finish().await;
}

#[tokio::test]
async fn streams_are_bidirectional_and_trailers_arrive() {
    let backend = backend::http(|request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let trailers = hyper::HeaderMap::from_iter([(
            hyper::header::HeaderName::from_static("grpc-status"),
            "0".parse().unwrap(),
        )]);
        let body = request.into_body().map_err(|_| unreachable!());
        let mut response = Response::new(body.with_trailers(async { Some(Ok(trailers)) }).boxed());
        response.headers_mut().insert("trailer", "grpc-status".parse().unwrap());
        response
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let (parts, body) = Parts::body();
    let mut request = client::request("/", body);
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200, "{:?}", response.headers());
    let mut body = response.into_body();
    for text in ["one", "two"] {
        parts.send(text);
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }
    drop(parts);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    lab.finish().await;
}

#[tokio::test]
async fn a_reset_stream_frees_its_backend_and_leaves_the_others() {
    let backend = backend::http(|request| async move {
        if request.uri().path() == "/hang" {
            std::future::pending::<()>().await;
        }
        Response::new(full("ok"))
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let hanging = sender.send_request(client::request("/hang", Empty::<Bytes>::new()));
    let hanging = tokio::spawn(hanging);
    lab.until("the request is under way", |lab| lab.counts() == [1]).await;
    hanging.abort();
    lab.until("the reset stream still counts", |lab| lab.counts() == [0]).await;
    let response = sender.send_request(client::request("/", Empty::new())).await.unwrap();
    assert_eq!(client::text(response).await, "ok");
    lab.finish().await;
}

/// golang/go#16510: each has its own window, and the connection has room for all.
#[tokio::test]
async fn uploads_that_no_server_takes_hold_up_no_other() {
    const STALLED: usize = 12;
    let backend = backend::http(|request| async move {
        if request.uri().path() == "/stall" {
            std::future::pending::<()>().await;
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(body.len().to_string()))
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let sent = Arc::<AtomicUsize>::default();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        let sent = sent.clone();
        let endless = futures_util::stream::repeat_with(move || {
            sent.fetch_add(1, Ordering::SeqCst);
            Ok(Frame::data(Bytes::from_static(&[0; 65_536])))
        });
        let request = client::request("/stall", BodyExt::boxed(StreamBody::new(endless)));
        stalled.push(tokio::spawn(sender.send_request(request)));
    }
    // Until nobody takes anything any more.
    let mut before = 0;
    while before < STALLED || sent.load(Ordering::SeqCst) > before {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(client::A_MOMENT).await;
    }
    let request = client::request("/", full(vec![0; 500_000]));
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(client::text(response).await, "500000");
    for upload in stalled {
        upload.abort();
    }
    lab.finish().await;
}
