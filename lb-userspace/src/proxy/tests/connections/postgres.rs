//! `pg_tls` with clients that do what libpq would not.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::proxy::tests::actors::{
    backend::{self, Listening},
    client::{self, Raw},
    lab::{Lab, Plan, Start},
};
use crate::service::Handler;

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
const STARTUP: &[u8] = b"\0\0\0\x15\0\x03\0\0user\0postgr\0\0";
const NAME: &str = "db.example.com";

type Cancelled = Arc<Mutex<Vec<(u8, Vec<u8>)>>>;

/// Answers a startup message with a key that begins with `number`, notes cancel requests, and
/// otherwise echoes.
async fn server(number: u8, cancelled: Cancelled) -> Listening {
    backend::raw(move |mut stream, connection| {
        let cancelled = cancelled.clone();
        async move {
            let mut head = [0; 8];
            stream.read_exact(&mut head).await.unwrap();
            let mut rest = vec![0; usize::from(head[3]) - 8];
            stream.read_exact(&mut rest).await.unwrap();
            if head[4..] == [0x04, 0xd2, 0x16, 0x2e] {
                cancelled.lock().unwrap().push((number, rest));
                return;
            }
            assert_eq!([&head[..], &rest].concat(), STARTUP);
            let key = [number, connection as u8, 0, 0, 1, 2, 3, 4];
            let greeting = [b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c", &key[..], b"Z\0\0\0\x05I"].concat();
            stream.write_all(&greeting).await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    })
    .await
}

/// A proxy before `servers`, and the certificate to trust.
fn start(servers: &[&Listening]) -> (Lab, String) {
    let servers: Vec<_> = servers.iter().map(|server| server.address).collect();
    let mut plan = Plan { handlers: vec![Handler::PgTls], ..Plan::https(&servers) };
    plan.tls.as_mut().unwrap().alpn = vec!["postgresql".into()];
    let mut start = Start::new(plan);
    start.workers = 4;
    let (cert, key) = client::certificate(&[NAME]);
    start.certificates = vec![(cert.clone(), key)];
    (start.start(), cert)
}

async fn session(
    lab: &Lab,
    cert: &str,
) -> (Raw<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>, Vec<u8>) {
    let mut plain = Raw::connect(lab.address).await;
    plain.send(SSL_REQUEST).await;
    assert_eq!(plain.take(1).await, b"S");
    let config = client::tls_config(&[cert], &["postgresql"]);
    let stream = client::tls_over(plain.stream, NAME, config).await.unwrap();
    let mut client = Raw::over(stream);
    client.send(STARTUP).await;
    let greeting = client.take(9 + 13 + 6).await;
    (client, greeting[14..22].to_vec())
}

fn cancel(key: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e][..], key].concat()
}

#[tokio::test]
async fn a_cancel_request_reaches_the_server_that_gave_out_its_key() {
    let cancelled = Cancelled::default();
    let servers = [server(0, cancelled.clone()).await, server(1, cancelled.clone()).await];
    let (lab, cert) = start(&[&servers[0], &servers[1]]);
    let mut sessions = vec![];
    for _ in 0..12 {
        sessions.push(session(&lab, &cert).await);
    }
    for (index, (_, key)) in sessions.iter().enumerate() {
        // In the clear, as libpq did before version 17, and inside TLS.
        if index % 2 == 0 {
            let mut client = Raw::connect(lab.address).await;
            client.send(cancel(key)).await;
            assert!(client.rest().await.is_empty());
        } else {
            let mut plain = Raw::connect(lab.address).await;
            plain.send(SSL_REQUEST).await;
            plain.take(1).await;
            let config = client::tls_config(&[&cert], &[]);
            let stream = client::tls_over(plain.stream, NAME, config).await.unwrap();
            let mut client = Raw::over(stream);
            client.send(cancel(key)).await;
            client.rest().await;
        }
        let seen = cancelled.lock().unwrap().pop().expect("it is there before we are told");
        assert_eq!(seen, (key[0], key.clone()));
        assert!(cancelled.lock().unwrap().is_empty(), "nobody else got it");
    }
    assert!((1..12).contains(&sessions.iter().filter(|(_, key)| key[0] == 0).count()));
    // Whom nobody here knows may be another node's: every server hears of it.
    let (client, key) = sessions.remove(0);
    drop((client, sessions));
    lab.until("sessions end", |lab| lab.counts().iter().all(|&count| count == 0)).await;
    let mut client = Raw::connect(lab.address).await;
    client.send(cancel(&key)).await;
    client.rest().await;
    let mut seen: Vec<_> = cancelled.lock().unwrap().iter().map(|(number, _)| *number).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1]);
    lab.finish().await;
}

#[tokio::test]
async fn gss_is_declined_once_and_tls_may_follow() {
    let server = server(0, Cancelled::default()).await;
    let (lab, cert) = start(&[&server]);
    let mut client = Raw::connect(lab.address).await;
    client.send(GSSENC_REQUEST).await;
    assert_eq!(client.take(1).await, b"N");
    client.send(SSL_REQUEST).await;
    assert_eq!(client.take(1).await, b"S");
    let config = client::tls_config(&[&cert], &[]);
    client::tls_over(client.stream, NAME, config).await.unwrap();
    let mut twice = Raw::connect(lab.address).await;
    twice.send([GSSENC_REQUEST, GSSENC_REQUEST].concat()).await;
    assert_eq!(twice.rest().await, b"N");
    lab.finish().await;
}

#[tokio::test]
async fn tls_from_the_first_byte_on_needs_its_alpn() {
    let server = server(0, Cancelled::default()).await;
    let (lab, cert) = start(&[&server]);
    let config = client::tls_config(&[&cert], &["postgresql"]);
    let mut client = Raw::over(client::tls(lab.address, NAME, config).await.unwrap());
    client.send(STARTUP).await;
    assert_eq!(client.take(1).await, b"R");
    let config = client::tls_config(&[&cert], &[]);
    let mut nameless = Raw::over(client::tls(lab.address, NAME, config).await.unwrap());
    let _ = nameless.stream.write_all(STARTUP).await;
    assert!(nameless.rest().await.is_empty());
    let config = client::tls_config(&[&cert], &["h2"]);
    assert!(client::tls(lab.address, NAME, config).await.is_err());
    drop(client);
    lab.finish().await;
}

#[tokio::test]
async fn refusals_are_told_in_postgresql_s_words() {
    let (lab, _) = start(&[&server(0, Cancelled::default()).await]);
    let mut client = Raw::connect(lab.address).await;
    client.send(STARTUP).await;
    let refusal = String::from_utf8(client.rest().await).unwrap();
    assert!(refusal.starts_with('E') && refusal.contains("\0C28000\0"), "{refusal:?}");
    lab.finish().await;

    let (lab, cert) = start(&[&Listening::at(backend::nowhere().await)]);
    let mut plain = Raw::connect(lab.address).await;
    plain.send(SSL_REQUEST).await;
    plain.take(1).await;
    let config = client::tls_config(&[&cert], &[]);
    let mut client = Raw::over(client::tls_over(plain.stream, NAME, config).await.unwrap());
    client.send(STARTUP).await;
    let refusal = String::from_utf8(client.rest().await).unwrap();
    assert!(refusal.contains("\0C57P03\0Mno backend accepted the connection\0"), "{refusal:?}");
    lab.finish().await;
}

#[tokio::test]
async fn other_protocols_are_shown_the_door() {
    let (lab, _) = start(&[&server(0, Cancelled::default()).await]);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 8], b"\0\0\0\x08\0\x02\0\0"] {
        let mut client = Raw::connect(lab.address).await;
        client.send(bytes).await;
        assert!(client.rest().await.is_empty());
    }
    lab.finish().await;
}
