use std::time::Duration;

use http_body_util::Empty;
use hyper::{Response, body::Bytes};
use tokio::{net::TcpStream, sync::watch};

use crate::proxy::tests::actors::{
    backend::{self, Listening, full},
    client::{self, Raw},
    lab::{Lab, PATIENCE},
};

/// Answers once `open` says so.
async fn gated() -> (Listening, watch::Sender<bool>) {
    let (open, gate) = watch::channel(false);
    let backend = backend::http(move |_| {
        let mut gate = gate.clone();
        async move {
            let _ = gate.wait_for(|open| *open).await;
            Response::new(full("at last"))
        }
    })
    .await;
    (backend, open)
}

#[tokio::test]
async fn requests_in_flight_are_finished_and_idle_connections_closed() {
    let (backend, open) = gated().await;
    let lab = Lab::http(&[backend.address]);
    let address = lab.address;
    let mut busy = Raw::connect(address).await;
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut http2 = client::http2(TcpStream::connect(address).await.unwrap()).await;
    let asked = tokio::spawn(http2.send_request(client::request("/", Empty::<Bytes>::new())));
    lab.until("both are under way", |lab| lab.counts() == [2]).await;
    let draining = tokio::spawn(lab.drain(PATIENCE));
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!draining.is_finished());
    open.send(true).unwrap();
    let reply = busy.reply().await;
    assert_eq!(reply.body, "at last");
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(client::text(asked.await.unwrap().unwrap()).await, "at last");
    draining.await.unwrap();
    assert_eq!(busy.rest().await, b"");
    assert!(http2.ready().await.is_err());
}

#[tokio::test]
async fn what_is_left_at_the_deadline_is_cut_off_and_counted_out() {
    let (backend, _open) = gated().await;
    let lab = Lab::http(&[backend.address]);
    let mut busy = Raw::connect(lab.address).await;
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    lab.until("it is under way", |lab| lab.counts() == [1]).await;
    lab.drain(Duration::from_millis(50)).await;
    assert_eq!(busy.rest().await, b"");
}

#[tokio::test]
async fn a_request_that_came_just_before_is_answered() {
    let backend = backend::saying("ok").await;
    for _ in 0..20 {
        let lab = Lab::http(&[backend.address]);
        let mut clients = vec![];
        for _ in 0..5 {
            let mut client = Raw::connect(lab.address).await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            clients.push(client);
        }
        lab.drain(PATIENCE).await;
        for mut client in clients {
            assert_eq!(client.reply().await.body, "ok");
        }
    }
}

/// What a client sends until it has read that the connection is over must not reset it: it may
/// have an answer to read.
#[tokio::test]
async fn what_crosses_the_end_of_http2_resets_nothing() {
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let backend = backend::saying("ok").await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let goaway = [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &[0; 8]].concat();
    client.send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &goaway].concat()).await;
    client.rest().await;
    for _ in 0..3 {
        assert!(client.send_to(PING).await, "it was reset");
    }
    drop(client);
    lab.finish().await;
}
