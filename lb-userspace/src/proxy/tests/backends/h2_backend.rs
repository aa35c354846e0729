//! `h2_backend`: requests reach servers by HTTP/2 without TLS.

use std::{convert::Infallible, time::Duration};

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::HeaderName,
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::proxy::tests::actors::{
    backend::{self, Listening, full},
    client::{self, Raw},
    lab::{Lab, Plan, Start},
};
use crate::service::HttpOptions;

fn lab(servers: &[std::net::SocketAddr]) -> Lab {
    let http = HttpOptions { h2_backend: true, ..HttpOptions::default() };
    Start::new(Plan { http, ..Plan::http(servers) }).start()
}

/// Says what it saw. A connection of which `requests` were served ends in order.
async fn h2c(requests: usize) -> Listening {
    backend::raw(move |stream, _| async move {
        let (served, mut all) = tokio::sync::mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Incoming>| {
            let served = served.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let names = head.headers.keys().map(HeaderName::as_str);
                let hop = names.filter(|name| ["host", "connection", "upgrade"].contains(name));
                let text =
                    format!("{} {} {:?} {}", head.method, head.uri, head.version, body.len());
                assert_eq!(hop.count(), 0, "{:?}", head.headers);
                served.send(()).unwrap();
                Ok::<_, Infallible>(Response::new(full(text)))
            }
        });
        let builder = http2::Builder::new(TokioExecutor::new());
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let enough = async {
            for _ in 0..requests {
                all.recv().await;
            }
        };
        tokio::select! {
            _ = connection.as_mut() => return,
            () = enough => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    })
    .await
}

#[tokio::test]
async fn requests_by_either_version_share_one_connection() {
    let backend = h2c(usize::MAX).await;
    let lab = lab(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    let reply = client.get("/x?y", "Connection: x-mine\r\nX-Mine: 1\r\n").await;
    assert_eq!(reply.body, "GET http://app.example.com/x?y HTTP/2.0 0");
    client
        .send("PUT /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.body, "PUT http://a/p HTTP/2.0 5");
    let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let request = client::request("/", Full::new(Bytes::from(vec![0; 1 << 20])));
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(client::text(response).await, "GET http://app.example.com/ HTTP/2.0 1048576");
    assert_eq!(backend.accepted(), 1);
    assert_eq!(lab.tally(), (3, 0));
    lab.finish().await;
}

#[tokio::test]
async fn requests_that_come_at_once_end_up_on_one_connection() {
    let backend = h2c(usize::MAX).await;
    let lab = lab(&[backend.address]);
    let sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let asks = (0..200).map(|number| {
        let mut sender = sender.clone();
        async move {
            let request = client::request(&format!("/{number}"), Empty::<Bytes>::new());
            let text = client::text(sender.send_request(request).await.unwrap()).await;
            assert!(text.contains(&format!("/{number} ")), "{text}");
        }
    });
    futures_util::future::join_all(asks).await;
    let before = backend.accepted();
    Raw::connect(lab.address).await.get("/", "").await;
    assert_eq!(backend.accepted(), before, "the one that was kept");
    lab.finish().await;
}

#[tokio::test]
async fn a_server_that_ends_its_connections_loses_no_request() {
    let backend = h2c(3).await;
    let lab = lab(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    for _ in 0..20 {
        assert_eq!(client.get("/", "").await.status(), "200");
    }
    assert!(backend.accepted() >= 4, "{}", backend.accepted());
    assert_eq!(lab.tally(), (20, 0));
    lab.finish().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_gets_its_requests_taken_by_another() {
    let backend = h2c(usize::MAX).await;
    let lab = lab(&[backend::nowhere().await, backend.address]);
    let mut client = Raw::connect(lab.address).await;
    for _ in 0..10 {
        let reply = client.get("/", "").await;
        assert_eq!(reply.body, "GET http://app.example.com/ HTTP/2.0 0");
    }
    assert_eq!(lab.tally(), (10, 0));
    lab.finish().await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_it_is_a_502() {
    let backend = backend::saying("no").await;
    let lab = lab(&[backend.address]);
    let reply = Raw::connect(lab.address).await.get("/", "").await;
    assert_eq!(reply.status(), "502");
    assert_eq!(lab.tally(), (1, 1));
    lab.finish().await;
}

#[tokio::test]
async fn an_upgrade_goes_by_http11_all_the_same() {
    let backend = backend::raw(|mut stream, _| async move {
        let head = backend::read_head(&mut stream).await.to_lowercase();
        assert!(head.starts_with("get /chat http/1.1\r\n"), "{head}");
        let reply = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\n\r\nwelcome";
        stream.write_all(reply.as_bytes()).await.unwrap();
    })
    .await;
    let lab = lab(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    let upgrade =
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.send(upgrade).await;
    assert!(client.head().await.starts_with("http/1.1 101 "));
    assert_eq!(client.take(7).await, b"welcome");
    drop(client);
    lab.finish().await;
}

#[tokio::test]
async fn a_request_that_its_client_gives_up_is_cancelled_at_the_server() {
    let (dropped, mut was_dropped) = tokio::sync::mpsc::unbounded_channel::<()>();
    let backend = backend::raw(move |stream, _| {
        let dropped = dropped.clone();
        async move {
            let service = service_fn(move |_| {
                let dropped = dropped.clone();
                async move {
                    let _until_dropped = Told(dropped);
                    std::future::pending::<()>().await;
                    Ok::<_, Infallible>(Response::new(full("")))
                }
            });
            let builder = http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
    let lab = lab(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    lab.until("the request is under way", |lab| lab.counts() == [1]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.vanish();
    was_dropped.recv().await.unwrap();
    lab.finish().await;
}

struct Told(tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}
