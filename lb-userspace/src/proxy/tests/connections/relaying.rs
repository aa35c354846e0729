use http_body_util::{Empty, Full};
use hyper::{Response, body::Bytes, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::SockRef;
use std::io::ErrorKind::ConnectionReset;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    lab::{Lab, Plan, Start},
};
use crate::service::{Handler, ProxyProtocol};

fn start(plan: Plan) -> (Lab, String) {
    let mut start = Start::new(plan);
    let (cert, key) = client::certificate(&["app.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    (start.start(), cert)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_the_half_close_with_them() {
    let backend = backend::raw(|mut stream, _| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all.reverse();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    let (lab, cert) = start(Plan::tls(&[backend.address]));
    let config = client::tls_config(&[&cert], &[]);
    let mut client = Raw::over(client::tls(lab.address, "app.example.com", config).await.unwrap());
    client.send("abc").await;
    lab.until("the connection counts", |lab| lab.counts() == [1]).await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"cba");
    assert_eq!(lab.tally(), (1, 0));
    assert_eq!(lab.connections(), [1]);
    lab.finish().await;
}

#[tokio::test]
async fn megabytes_arrive_whole_under_back_pressure() {
    const SIZE: usize = 8 << 20;
    let backend = backend::mirror().await;
    let (lab, cert) = start(Plan::tls(&[backend.address]));
    let config = client::tls_config(&[&cert], &[]);
    let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..SIZE).map(|n| ((n * 31) >> 7) as u8).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    read.read_to_end(&mut received).await.unwrap();
    sending.await.unwrap();
    assert!(received == expected);
    lab.finish().await;
}

#[tokio::test]
async fn megabytes_between_plain_sockets_arrive_whole() {
    const SIZE: usize = 24 << 20;
    let backend = backend::mirror().await;
    let mut plan = Plan::http(&[backend.address]);
    plan.handlers = vec![Handler::ProxyProto];
    plan.proxy_proto = Some(ProxyProtocol::V2);
    let lab = Start::new(plan).start();
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let sent: Vec<u8> = (0..SIZE).map(|n| ((n * 31) >> 7) as u8).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    // The mirror's back pressure reaches the sender while nobody reads.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    read.read_to_end(&mut received).await.unwrap();
    sending.await.unwrap();
    let announced = received.len() - SIZE;
    assert!(received[announced..] == expected);
    lab.finish().await;
}

#[tokio::test]
async fn a_side_that_stays_silent_after_the_other_s_end_is_cut_off() {
    let backend = backend::raw(|mut stream, _| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        // Says nothing, and does not end either.
        std::future::pending::<()>().await;
    })
    .await;
    let mut plan = Plan::http(&[backend.address]);
    plan.handlers = vec![Handler::ProxyProto];
    plan.proxy_proto = Some(ProxyProtocol::V1);
    let mut start = Start::new(plan);
    start.settings.termination_delay = Some(std::time::Duration::from_millis(100));
    let lab = start.start();
    let mut client = Raw::connect(lab.address).await;
    client.send("bye").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"");
    lab.finish().await;
}

/// What a side sees of the other's reset.
async fn end_of(stream: &mut (impl AsyncRead + Unpin)) -> std::io::ErrorKind {
    let mut byte = [0];
    loop {
        match stream.read(&mut byte).await {
            Ok(0) => return std::io::ErrorKind::Other,
            Ok(_) => {}
            Err(error) => return error.kind(),
        }
    }
}

fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

/// envoyproxy/envoy#44148, envoyproxy/envoy#46519, haproxy/haproxy#1505.
#[tokio::test]
async fn who_breaks_off_ends_nothing_in_order() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let backend = backend::raw(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            let mut asked = [0];
            while asked != *b"!" && asked != *b"?" {
                stream.read_exact(&mut asked).await.unwrap();
            }
            if asked == *b"!" {
                stream.write_all(b"half of it").await.unwrap();
                reset(&stream);
            } else {
                stream.write_all(b"ready").await.unwrap();
                tell.send(end_of(&mut stream).await).unwrap();
            }
        }
    })
    .await;
    let mut plain = Plan::http(&[backend.address]);
    plain.handlers = vec![Handler::ProxyProto];
    plain.proxy_proto = Some(ProxyProtocol::V1);
    let lab = Start::new(plain).start();
    let mut client = TcpStream::connect(lab.address).await.unwrap();
    client.write_all(b"!").await.unwrap();
    assert_eq!(end_of(&mut client).await, ConnectionReset);
    let mut client = Raw::connect(lab.address).await;
    client.send("?").await;
    assert_eq!(client.take(5).await, b"ready");
    reset(&client.stream);
    drop(client);
    assert_eq!(told.recv().await, Some(ConnectionReset));
    lab.finish().await;

    let (lab, cert) = start(Plan::tls(&[backend.address]));
    let connect = async || {
        let config = client::tls_config(&[&cert], &[]);
        client::tls(lab.address, "app.example.com", config).await.unwrap()
    };
    let mut client = connect().await;
    client.write_all(b"!").await.unwrap();
    assert_eq!(end_of(&mut client).await, ConnectionReset);
    // A client that resets, and one that ends without saying so.
    for resets in [true, false] {
        let mut client = Raw::over(connect().await);
        client.send("?").await;
        assert_eq!(client.take(5).await, b"ready");
        if resets {
            reset(client.stream.get_ref().0);
        }
        drop(client.stream.into_inner().0);
        assert_eq!(told.recv().await, Some(ConnectionReset), "{resets}");
    }
    lab.finish().await;
}

#[tokio::test]
async fn with_alpn_h2_the_backend_gets_h2c_untouched() {
    let backend = backend::raw(|stream, _| async move {
        let service = service_fn(|request: hyper::Request<_>| async move {
            let text = format!("{:?} {}", request.version(), request.headers().len());
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(text))))
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    })
    .await;
    let (lab, cert) = start(Plan::tls(&[backend.address]));
    let config = client::tls_config(&[&cert], &["h2"]);
    let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut sender = client::http2(stream).await;
    let response = sender.send_request(client::request("/", Empty::<Bytes>::new())).await.unwrap();
    assert_eq!(client::text(response).await, "HTTP/2.0 0");
    drop(sender);
    lab.finish().await;
}

#[tokio::test]
async fn a_backend_that_refuses_is_passed_over() {
    let backend = backend::mirror().await;
    let nowhere = backend::nowhere().await;
    let (lab, cert) = start(Plan::tls(&[nowhere, backend.address]));
    for _ in 0..8 {
        let config = client::tls_config(&[&cert], &[]);
        let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
        let mut client = Raw::over(stream);
        client.send("x").await;
        assert_eq!(client.take(1).await, b"x");
    }
    assert_eq!(lab.tally(), (8, 0));
    lab.finish().await;
}

#[tokio::test]
async fn without_a_backend_the_client_is_cut_off_and_counted() {
    let nowhere = backend::nowhere().await;
    let (lab, cert) = start(Plan::tls(&[nowhere]));
    let config = client::tls_config(&[&cert], &[]);
    let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
    assert_eq!(Raw::over(stream).rest().await, b"");
    assert_eq!(lab.tally(), (1, 1));
    lab.finish().await;
}

#[tokio::test]
async fn a_client_that_vanishes_frees_the_backend() {
    let backend = backend::mirror().await;
    let (lab, cert) = start(Plan::tls(&[backend.address]));
    let config = client::tls_config(&[&cert], &[]);
    let mut stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    lab.until("the connection counts", |lab| lab.counts() == [1]).await;
    // Without close_notify.
    drop(stream.into_inner().0);
    lab.finish().await;
}
