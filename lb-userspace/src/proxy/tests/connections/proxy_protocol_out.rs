//! Telling backends who the client is, by the PROXY protocol.

use tokio::io::AsyncReadExt as _;

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    lab::{Plan, Start},
};
use crate::service::{Handler, ProxyProtocol};

fn plan(backend: &backend::Listening, handlers: &[Handler], version: ProxyProtocol) -> Plan {
    Plan {
        handlers: handlers.to_vec(),
        tls: None,
        proxy_proto: Some(version),
        ..Plan::https(&[backend.address])
    }
}

/// Reads a header's line before all else, and then echoes.
async fn receiver() -> backend::Listening {
    backend::raw(|mut stream, _| async move {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await.unwrap());
        }
        let (mut read, mut write) = stream.split();
        tokio::io::AsyncWriteExt::write_all(&mut write, &line).await.unwrap();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
    })
    .await
}

#[tokio::test]
async fn the_header_comes_before_the_first_byte_even_if_the_client_is_silent() {
    let backend = receiver().await;
    let lab = Start::new(plan(&backend, &[Handler::ProxyProto], ProxyProtocol::V1)).start();
    let mut client = Raw::connect(lab.address).await;
    let (port, own) = (lab.address.port(), client.stream.local_addr().unwrap().port());
    let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} {port}\r\n");
    assert_eq!(client.take(line.len()).await, line.as_bytes());
    client.send("hello").await;
    assert_eq!(client.take(5).await, b"hello");
    drop(client);
    lab.finish().await;
}

#[tokio::test]
async fn what_another_proxy_announced_is_passed_on() {
    let backend = receiver().await;
    let mut start = Start::new(plan(&backend, &[Handler::ProxyProto], ProxyProtocol::V1));
    start.settings.proxy_proto_from = vec!["127.0.0.1/32".parse().unwrap()];
    let lab = start.start();
    let header = "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n";
    let mut client = Raw::connect(lab.address).await;
    client.send(format!("{header}hello")).await;
    assert_eq!(client.take(header.len() + 5).await, format!("{header}hello").as_bytes());
    drop(client);
    lab.finish().await;
}

#[tokio::test]
async fn after_tls_version_2_tells_the_session_s_facts() {
    let backend = backend::mirror().await;
    let mut plan = plan(&backend, &[Handler::Tls, Handler::ProxyProto], ProxyProtocol::V2);
    plan.tls = Plan::https(&[]).tls;
    let mut start = Start::new(plan);
    let (cert, key) = client::certificate(&["app.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    let lab = start.start();
    let config = client::tls_config(&[&cert], &["h2"]);
    let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
    let mut client = Raw::over(stream);
    let mut bytes = client.take(16).await;
    let rest = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    bytes.extend(client.take(rest).await);
    let (header, _) = proxy_header::ProxyHeader::parse(&bytes, Default::default()).unwrap();
    assert_eq!(header.proxied_address().unwrap().destination, lab.address);
    assert_eq!((header.alpn(), header.authority()), (Some(&b"h2"[..]), Some("app.example.com")));
    let ssl = header.ssl().unwrap();
    assert_eq!(ssl.version(), Some("TLSv1.3"));
    assert!(ssl.cipher().unwrap().starts_with("TLS_AES_"), "{ssl:?}");
    drop(client);
    lab.finish().await;
}
