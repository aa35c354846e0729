//! Extended CONNECT: an upgrade of HTTP/1.1 on one stream of HTTP/2.

use http_body_util::Empty;
use hyper::{Method, Request, Response, body::Bytes, ext::Protocol};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    lab::Lab,
};

type Sender = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

/// A client that knows what the server's settings allow: it has had an answer, of the proxy alone.
async fn connect(lab: &Lab) -> Sender {
    let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let mut plain = websocket();
    plain.extensions_mut().clear();
    assert_eq!(sender.send_request(plain).await.unwrap().status(), 501);
    sender
}

fn websocket() -> Request<Empty<Bytes>> {
    let mut request = client::request("/chat?a=b", Empty::new());
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    request
}

#[tokio::test]
async fn a_server_sees_an_upgrade_and_the_client_a_stream() {
    let backend = backend::raw(|mut stream, _| async move {
        let head = backend::read_head(&mut stream).await.to_lowercase();
        assert!(head.starts_with("get /chat?a=b http/1.1\r\n"), "{head}");
        for line in [
            "host: app.example.com",
            "connection: upgrade",
            "upgrade: websocket",
            "sec-websocket-version: 13",
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
        }
        let key = head.split_once("sec-websocket-key: ").unwrap().1.split("\r\n").next().unwrap();
        assert!(key.len() == 24 && key.ends_with("=="), "{key}");
        let reply = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\nX-Mine: 1\r\n\r\nwelcome";
        stream.write_all(reply.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        write.write_all(b"bye").await.unwrap();
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut sender = connect(&lab).await;
    let response = sender.send_request(websocket()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-mine"));
    for name in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let mut stream = Raw::over(TokioIo::new(upgraded));
    assert_eq!(stream.take(7).await, b"welcome");
    stream.send("ping").await;
    assert_eq!(stream.take(4).await, b"ping");
    assert_eq!(lab.counts(), [1]);
    stream.stream.shutdown().await.unwrap();
    assert_eq!(stream.rest().await, b"bye");
    lab.finish().await;
}

#[tokio::test]
async fn a_server_that_does_not_switch_never_looks_as_if_it_had() {
    for (status, expected) in [(200, 502), (204, 502), (403, 403), (404, 404)] {
        let backend = backend::http(move |_| async move {
            let mut response = Response::new(backend::full("no"));
            *response.status_mut() = status.try_into().unwrap();
            response
        })
        .await;
        let lab = Lab::http(&[backend.address]);
        let mut sender = connect(&lab).await;
        let response = sender.send_request(websocket()).await.unwrap();
        assert_eq!(response.status(), expected, "{status}");
        lab.finish().await;
    }
}

#[tokio::test]
async fn plain_connect_is_not_supported() {
    let backend = backend::saying("ok").await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send("CONNECT app.example.com:80 HTTP/1.1\r\nHost: app.example.com:80\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("http/1.1 501 "), "{head}");
    assert!(head.contains("\r\nfly-error: connect-unsupported\r\n"), "{head}");
    assert_eq!(backend.accepted(), 0);
    lab.finish().await;
}
