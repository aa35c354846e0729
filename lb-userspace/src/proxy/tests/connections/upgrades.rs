//! `Upgrade` by HTTP/1.1: which protocols reach a server, and which answers are taken for one (RFC
//! 9110 7.8). microsoft/reverse-proxy#877, golang/go#80416.

use http_body_util::Empty;
use hyper::{Method, body::Bytes, ext::Protocol};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    lab::Lab,
};

/// What a client offers, what of it reaches the server, what the server switches to, and the
/// status.
const UPGRADES: &[(&str, &str, &str, &str)] = &[
    ("Upgrade: websocket\r\n", "websocket", "websocket", "101"),
    ("Upgrade: websocket\r\n", "websocket", "WebSocket", "101"),
    ("Upgrade: WebSocket\r\n", "WebSocket", "websocket", "101"),
    ("Upgrade: mine/1, other\r\n", "mine/1, other", "other", "101"),
    ("Upgrade: mine/1\r\n", "mine/1", "mine/1", "101"),
    ("Upgrade: websocket, h2c\r\n", "websocket", "websocket", "101"),
    ("Upgrade: websocket, h2c\r\n", "websocket", "h2c", "502"),
    ("Upgrade: h2c,websocket\r\n", "websocket", "websocket", "101"),
    ("Upgrade: mine\r\nUpgrade: h2c\r\n", "mine", "mine", "101"),
    ("Upgrade: mine\r\nUpgrade: h2c\r\n", "mine", "h2c", "502"),
    ("Upgrade: x/1, H2C\r\n", "x/1", "x/1", "101"),
    ("Upgrade: h2c\r\n", "", "h2c", "502"),
    ("Upgrade: \th2c\r\n", "", "h2c", "502"),
    ("Upgrade: , h2c\r\n", "", "h2c", "502"),
    ("Upgrade: h2c/1, HTTP/2.0, TLS/1.0\r\n", "", "h2c", "502"),
    ("Upgrade: web socket, \"h2c\", a;h2c\r\n", "", "h2c", "502"),
    ("Upgrade: websocket\r\n", "websocket", "mine", "502"),
    ("Upgrade: websocket\r\n", "websocket", "websocket, mine", "502"),
    ("Upgrade: websocket\r\n", "websocket", "", "502"),
];

#[tokio::test]
async fn upgrades() {
    for (offers, reaches, switched, status) in UPGRADES {
        let backend = backend::raw(move |mut stream, _| async move {
            let head = backend::read_head(&mut stream).await;
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            let mut offered = lines.filter(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
            let got = offered.next().map_or("", |(_, value)| value);
            assert_eq!((got, offered.next()), (*reaches, None), "{offers:?}");
            assert!(!head.to_lowercase().contains("http2-settings"), "{head}");
            let upgrade =
                if switched.is_empty() { "" } else { &format!("Upgrade: {switched}\r\n") };
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n{upgrade}\r\nhi"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.read_u8().await;
        })
        .await;
        let lab = Lab::http(&[backend.address]);
        let mut client = Raw::connect(lab.address).await;
        let settings = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMA\r\n";
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{settings}{offers}\r\n")).await;
        let head = client.head().await;
        assert_eq!(head.split(' ').nth(1), Some(*status), "{offers:?} {switched:?}: {head}");
        if *status == "101" {
            assert_eq!(client.take(2).await, b"hi");
        }
        drop(client);
        lab.finish().await;
    }
}

/// Extended CONNECT, which becomes an upgrade.
#[tokio::test]
async fn no_stream_becomes_http_again() {
    let backend = backend::saying("ok").await;
    let lab = Lab::http(&[backend.address]);
    let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    // What the server's settings allow is known after an answer.
    let plain = client::request("/", Empty::<Bytes>::new());
    assert_eq!(sender.send_request(plain).await.unwrap().status(), 200);
    for protocol in ["h2c", "H2C", "http/1.1", "TLS/1.0", "websocket, h2c", ""] {
        let mut request = client::request("/", Empty::new());
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from(protocol));
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 501, "{protocol:?}");
        assert_eq!(response.headers()["fly-error"], "connect-unsupported", "{protocol:?}");
    }
    lab.finish().await;
}
