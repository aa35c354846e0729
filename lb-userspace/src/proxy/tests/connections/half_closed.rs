//! Clients that have ended their sending side, and are gone later.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};

use crate::{
    proxy::tests::actors::{
        backend::{self, Listening},
        client::Raw,
        lab::{Lab, Plan, Start},
    },
    service::{Handler, ProxyProtocol},
};

/// Well before a client is given up for its silence.
const AT_ONCE: Duration = Duration::from_secs(4);
const PART: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";

/// One that says `first` at once and `later` after a while, and waits for the end.
async fn server(first: &'static str, later: &'static str) -> Listening {
    backend::raw(move |mut stream, _| async move {
        backend::read_head(&mut stream).await;
        let _ = stream.write_all(first.as_bytes()).await;
        sleep(Duration::from_millis(200)).await;
        let _ = stream.write_all(later.as_bytes()).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

async fn half_closed(lab: &Lab) -> Raw {
    let mut client = Raw::connect(lab.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.stream.shutdown().await.unwrap();
    client
}

#[tokio::test]
async fn a_reset_behind_the_end_ends_the_exchange() {
    for said in ["", PART] {
        let server = server(said, "").await;
        let lab = Lab::http(&[server.address]);
        let mut client = half_closed(&lab).await;
        lab.until("the server has it", |lab| lab.counts() == [1]).await;
        if !said.is_empty() {
            client.head().await;
            assert_eq!(client.take(3).await, b"abc");
        }
        sleep(Duration::from_millis(100)).await;
        assert_eq!(lab.counts(), [1], "the client may await the answer");
        let began = Instant::now();
        client.vanish();
        lab.until("the server hears of it", |_| server.closed() == 1).await;
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        lab.finish().await;
    }
}

#[tokio::test]
async fn a_client_that_refuses_what_comes_is_gone() {
    let server = server("", PART).await;
    let lab = Lab::http(&[server.address]);
    let began = Instant::now();
    drop(half_closed(&lab).await);
    lab.until("the server hears of it", |_| server.closed() == 1).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    lab.finish().await;
}

/// Relays have no limit of their own here.
#[tokio::test]
async fn a_reset_behind_the_end_ends_a_relay() {
    let server = backend::raw(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut plan = Plan::http(&[server.address]);
    (plan.handlers, plan.proxy_proto) = (vec![Handler::ProxyProto], Some(ProxyProtocol::V2));
    let lab = Start::new(plan).start();
    let client = half_closed(&lab).await;
    lab.until("the server has it", |lab| lab.counts() == [1]).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(lab.counts(), [1], "the client may await the answer");
    client.vanish();
    lab.until("the relay ends", |lab| lab.counts() == [0]).await;
    lab.finish().await;
}
