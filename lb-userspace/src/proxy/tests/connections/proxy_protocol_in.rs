//! Behind another proxy, by the PROXY protocol.

use tokio::io::AsyncWriteExt as _;

use crate::proxy::tests::actors::{
    backend,
    client::{self, A_MOMENT, Raw},
    lab::{Lab, Plan, Start},
};

const HEADER: &str = "PROXY TCP4 192.0.2.7 203.0.113.1 4711 8443\r\n";

fn behind_a_proxy(plan: Plan) -> Start {
    let mut start = Start::new(plan);
    start.settings.proxy_proto_from = vec!["127.0.0.0/8".parse().unwrap()];
    start
}

async fn announced(lab: &Lab, header: &[u8]) -> Raw {
    let mut client = Raw::connect(lab.address).await;
    client.send(header).await;
    client
}

#[tokio::test]
async fn the_announced_client_is_the_client() {
    let backend = backend::echo().await;
    let lab = behind_a_proxy(Plan::http(&[backend.address])).start();
    let mut client = announced(&lab, HEADER.as_bytes()).await;
    for _ in 0..2 {
        let body = client.get("/", "").await.body;
        for line in
            ["fly-client-ip: 192.0.2.7", "x-forwarded-for: 192.0.2.7", "fly-forwarded-port: 8443"]
        {
            assert!(body.lines().any(|it| it == line), "{line} in {body}");
        }
    }
    // A health check of the proxy itself.
    let mut client = announced(&lab, b"PROXY UNKNOWN\r\n").await;
    assert!(client.get("/", "").await.body.contains("fly-client-ip: 127.0.0.1"));
    lab.finish().await;
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_with_what_follows() {
    let backend = backend::echo().await;
    let lab = behind_a_proxy(Plan::http(&[backend.address])).start();
    let mut client = Raw::connect(lab.address).await;
    client.stream.set_nodelay(true).unwrap();
    for byte in HEADER.as_bytes() {
        client.stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(client.get("/", "").await.body.contains("fly-client-ip: 192.0.2.7"));
    let request = "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n";
    let mut client = announced(&lab, format!("{HEADER}{request}").as_bytes()).await;
    assert!(client.reply().await.body.contains("fly-client-ip: 192.0.2.7"));
    lab.finish().await;
}

#[tokio::test]
async fn without_a_header_the_connection_is_refused() {
    let backend = backend::saying("hello").await;
    let lab = behind_a_proxy(Plan::http(&[backend.address])).start();
    let request = b"GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n";
    assert!(announced(&lab, request).await.rest().await.is_empty());
    assert_eq!(backend.accepted(), 0);
    // Other networks speak for themselves, and a header of theirs is no request.
    let [from_v6] = ["[::1]"].map(|ip| format!("{ip}:{}", lab.address.port()).parse().unwrap());
    assert_eq!(Raw::connect(from_v6).await.get("/", "").await.body, "hello");
    let mut forger = Raw::connect(from_v6).await;
    forger.send(format!("{HEADER}GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n")).await;
    assert_eq!(forger.reply().await.status(), "400");
    lab.finish().await;
}

#[tokio::test]
async fn a_header_that_never_ends_is_not_waited_for() {
    let backend = backend::saying("hello").await;
    let mut start = behind_a_proxy(Plan::http(&[backend.address]));
    start.settings.handshake_timeout = A_MOMENT;
    let lab = start.start();
    assert!(announced(&lab, b"PROXY TCP4 192.0.2.7").await.rest().await.is_empty());
    lab.finish().await;
}

#[tokio::test]
async fn a_handshake_follows_the_header() {
    let backend = backend::echo().await;
    let mut start = behind_a_proxy(Plan::https(&[backend.address]));
    let (cert, key) = client::certificate(&["app.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    let lab = start.start();
    let plain = announced(&lab, HEADER.as_bytes()).await.stream;
    let config = client::tls_config(&[&cert], &[]);
    let stream = client::tls_over(plain, "app.example.com", config).await.unwrap();
    let body = Raw::over(stream).get("/", "").await.body;
    assert!(body.contains("fly-client-ip: 192.0.2.7"), "{body}");
    lab.finish().await;
}
