//! How large and how long a request may be.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::{body::Bytes, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    lab::{Lab, Plan, Start},
};

const SHORT: Duration = Duration::from_millis(300);
const LARGE: usize = 8 << 20;

fn start(plan: Plan, set: impl Fn(&mut crate::settings::ProxySettings)) -> Lab {
    let mut start = Start::new(plan);
    set(&mut start.settings);
    start.start()
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_whether_or_not_it_says_so() {
    let backend = backend::echo().await;
    let lab = start(Plan::http(&[backend.address]), |s| s.max_request_body = 5);
    for request in [
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n",
    ] {
        let mut client = Raw::connect(lab.address).await;
        client.send(request).await;
        let reply = client.reply().await;
        assert_eq!((reply.status(), reply.header("fly-error")), ("413", Some("body-too-large")));
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(client.rest().await, b"");
    }
    let mut client = Raw::connect(lab.address).await;
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde").await;
    assert!(client.reply().await.body.ends_with("abcde"));
    let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let request = client::request("/", Full::new(Bytes::from_static(b"abcdef")));
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(lab.tally(), (4, 0), "none of it is the service's failure");
    lab.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_100_is_told_413_all_the_same() {
    let backend = backend::echo().await;
    let lab = start(Plan::http(&[backend.address]), |s| s.max_request_body = 5);
    let mut client = Raw::connect(lab.address).await;
    let head =
        "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.reply().await.status(), "413", "and not 100");
    assert_eq!(backend.accepted(), 0);
    lab.finish().await;
}

#[tokio::test]
async fn a_request_has_its_time_and_no_more_however_it_is_spent() {
    let backend = backend::http(|request| async move {
        match request.uri().path() {
            "/never" => std::future::pending().await,
            "/large" => hyper::Response::new(backend::full(vec![0; LARGE])),
            _ => hyper::Response::new(request.into_body().map_err(|_| unreachable!()).boxed()),
        }
    })
    .await;
    let lab = start(Plan::http(&[backend.address]), |s| s.request_timeout = Some(SHORT));
    let mut client = Raw::connect(lab.address).await;
    let reply = client.get("/never", "").await;
    assert_eq!(
        (reply.status(), reply.header("fly-error")),
        ("504", Some("backend-response-timeout"))
    );
    // Nobody takes the response.
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    lab.until("the response is under way", |lab| lab.connections()[0] >= 2).await;
    lab.until("it is still waited for", |lab| lab.counts() == [0]).await;
    assert!(client.rest().await.len() < LARGE);
    // Both ways go on, and on.
    let mut client = Raw::connect(lab.address).await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.head().await;
    let mut chunks = 0;
    while client.send_to("1\r\nx\r\n").await && chunks < 1000 {
        chunks += 1;
        tokio::time::sleep(SHORT / 20).await;
    }
    assert!(chunks < 1000, "the request still goes on");
    lab.finish().await;
}

#[tokio::test]
async fn a_stream_of_which_nothing_is_taken_is_reset_and_the_others_go_on() {
    let backend = backend::http(|request| async move {
        let size = if request.uri().path() == "/large" { LARGE } else { 5 };
        hyper::Response::new(backend::full(vec![b'x'; size]))
    })
    .await;
    let lab = start(Plan::http(&[backend.address]), |s| s.idle_timeout = SHORT);
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let mut http2 = conn::http2::Builder::new(TokioExecutor::new());
    http2.initial_stream_window_size(1000).initial_connection_window_size(1 << 20);
    let (mut sender, connection) = http2.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = client::request("/large", Empty::<Bytes>::new());
    let stuck = sender.send_request(request).await.unwrap();
    lab.until("the stream still holds a backend", |lab| lab.counts() == [0]).await;
    let response = sender.send_request(client::request("/", Empty::new())).await.unwrap();
    assert_eq!(client::text(response).await, "xxxxx");
    assert!(stuck.into_body().collect().await.is_err(), "cut off, and not ended");
    lab.finish().await;
}
