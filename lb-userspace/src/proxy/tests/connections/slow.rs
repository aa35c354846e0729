use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    lab::{Lab, Plan, Start},
};

const SHORT: Duration = Duration::from_millis(200);

fn start(plan: Plan, set: impl Fn(&mut crate::settings::ProxySettings)) -> Lab {
    let mut start = Start::new(plan);
    set(&mut start.settings);
    start.start()
}

#[tokio::test]
async fn a_slow_header_is_cut_off() {
    let backend = backend::saying("ok").await;
    let lab = start(Plan::http(&[backend.address]), |s| s.header_timeout = SHORT);
    let mut silent = Raw::connect(lab.address).await;
    assert_eq!(silent.rest().await, b"");
    let mut slow = Raw::connect(lab.address).await;
    slow.send("GET / HTTP/1.1\r\nHo").await;
    assert_eq!(slow.reply().await.header("fly-error"), Some("slow-header"));
    assert_eq!(slow.rest().await, b"");
    let mut second = Raw::connect(lab.address).await;
    assert_eq!(second.get("/", "").await.body, "ok");
    second.send("GET / HTTP/1.1\r\n").await;
    assert_eq!(second.reply().await.status(), "408");
    assert_eq!(second.rest().await, b"");
    assert_eq!(lab.tally(), (1, 0));
    lab.finish().await;
}

#[tokio::test]
async fn between_requests_the_idle_time_counts_not_the_header_time() {
    let backend = backend::saying("ok").await;
    let lab = start(Plan::http(&[backend.address]), |s| s.header_timeout = SHORT);
    let mut client = Raw::connect(lab.address).await;
    for _ in 0..2 {
        assert_eq!(client.get("/", "").await.body, "ok");
        tokio::time::sleep(SHORT * 2).await;
    }
    lab.finish().await;
    let lab = start(Plan::http(&[backend.address]), |s| s.idle_timeout = SHORT);
    let mut client = Raw::connect(lab.address).await;
    assert_eq!(client.get("/", "").await.body, "ok");
    assert_eq!(client.rest().await, b"");
    lab.finish().await;
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed() {
    let backend = backend::saying("ok").await;
    let lab = start(Plan::http(&[backend.address]), |s| s.idle_timeout = SHORT);
    let stream = tokio::net::TcpStream::connect(lab.address).await.unwrap();
    let mut sender = client::http2::<_, http_body_util::Empty<_>>(stream).await;
    while sender.ready().await.is_ok() {
        tokio::time::sleep(SHORT / 4).await;
    }
    lab.finish().await;
}

#[tokio::test]
async fn a_slow_handshake_is_cut_off() {
    let backend = backend::saying("ok").await;
    let mut plan = Plan::https(&[backend.address]);
    plan.tls.as_mut().unwrap().default_self_signed = true;
    let lab = start(plan, |s| s.handshake_timeout = SHORT);
    let mut client = Raw::connect(lab.address).await;
    client.send([22, 3, 1]).await;
    assert_eq!(client.rest().await, b"");
    lab.finish().await;
}

#[tokio::test]
async fn a_slow_response_is_a_504_and_a_slow_upload_before_it_is_not() {
    let backend = backend::raw(|mut stream, _| async move {
        let head = backend::read_head(&mut stream).await;
        if head.starts_with("GET") {
            std::future::pending::<()>().await;
        }
        backend::read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let lab = start(Plan::http(&[backend.address]), |s| {
        s.response_header_timeout = SHORT;
    });
    let mut client = Raw::connect(lab.address).await;
    let reply = client.get("/", "").await;
    assert_eq!(reply.status(), "504");
    assert_eq!(reply.header("fly-error"), Some("backend-response-timeout"));
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n").await;
    for byte in ["a", "b", "c", "d", "\r", "\n", "\r", "\n"] {
        client.send(byte).await;
        tokio::time::sleep(SHORT / 3).await;
    }
    assert_eq!(client.reply().await.body, "ok");
    assert_eq!(lab.tally(), (2, 1));
    lab.finish().await;
}

#[tokio::test]
async fn an_upload_that_stops_is_a_408() {
    let backend = backend::echo().await;
    let lab = start(Plan::http(&[backend.address]), |s| s.idle_timeout = SHORT);
    let mut client = Raw::connect(lab.address).await;
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nabc").await;
    let reply = client.reply().await;
    assert_eq!(reply.status(), "408");
    assert_eq!(lab.tally(), (1, 0));
    lab.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_take_its_response_is_cut_off() {
    const SIZE: usize = 32 << 20;
    let backend =
        backend::http(|_| async { hyper::Response::new(backend::full(vec![0; SIZE])) }).await;
    let lab = start(Plan::http(&[backend.address]), |s| s.idle_timeout = SHORT);
    let mut client = Raw::connect(lab.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    lab.until("the request is under way", |lab| lab.connections() == [1]).await;
    lab.until("the client is still waited for", |lab| lab.counts() == [0]).await;
    assert!(client.rest().await.len() < SIZE);
    lab.finish().await;
}

/// A relay of bytes on a port with this `idle_timeout`.
async fn relaying(idle_timeout: Option<Duration>) -> (Lab, String) {
    let backend = backend::mirror().await;
    let mut plan = Plan::tls(&[backend.address]);
    plan.idle_timeout = idle_timeout;
    let mut start = Start::new(plan);
    // Of requests only.
    start.settings.idle_timeout = SHORT;
    let (cert, key) = client::certificate(&["app.example.com"]);
    start.certificates = vec![(cert.clone(), key)];
    (start.start(), cert)
}

/// traefik/traefik#10619, coollabsio/coolify#7743.
#[tokio::test]
async fn a_silent_relay_goes_on_unless_its_port_says_otherwise() {
    for idle_timeout in [None, Some(SHORT)] {
        let (lab, cert) = relaying(idle_timeout).await;
        let config = client::tls_config(&[&cert], &[]);
        let stream = client::tls(lab.address, "app.example.com", config).await.unwrap();
        let mut client = Raw::over(stream);
        if idle_timeout.is_some() {
            assert_eq!(client.rest().await, b"");
        } else {
            tokio::time::sleep(SHORT * 4).await;
            client.send("x").await;
            assert_eq!(client.take(1).await, b"x");
        }
        drop(client);
        lab.finish().await;
    }
}

#[tokio::test]
async fn a_silent_websocket_goes_on_unless_its_port_says_otherwise() {
    let backend = backend::raw(|mut stream, _| async move {
        backend::read_head(&mut stream).await;
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        stream.write_all(switch.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    for idle_timeout in [None, Some(SHORT)] {
        let mut plan = Plan::http(&[backend.address]);
        plan.idle_timeout = idle_timeout;
        let lab = start(plan, |s| s.idle_timeout = SHORT);
        let mut client = Raw::connect(lab.address).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
        assert!(client.head().await.starts_with("http/1.1 101 "));
        if idle_timeout.is_some() {
            assert_eq!(client.rest().await, b"");
        } else {
            tokio::time::sleep(SHORT * 4).await;
            client.send("x").await;
            assert_eq!(client.take(1).await, b"x");
        }
        drop(client);
        lab.finish().await;
    }
}

/// Two services on one port, of which `patient` waits for long and `hasty` does not.
#[tokio::test]
async fn the_port_of_the_last_request_s_service_says_how_long_a_connection_may_idle() {
    let backend = backend::echo().await;
    let mut plans = vec![Plan::http(&[backend.address]); 2];
    plans[0].hostnames = vec!["patient".into()];
    plans[0].idle_timeout = Some(crate::proxy::tests::actors::lab::PATIENCE);
    plans[1].hostnames = vec!["hasty".into()];
    let mut start = Start::new(plans[0].clone());
    start.plans = plans;
    start.settings.idle_timeout = SHORT;
    let lab = start.start();
    let mut client = Raw::connect(lab.address).await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: patient\r\n\r\n").await;
        assert_eq!(client.reply().await.status(), "200");
        tokio::time::sleep(SHORT * 2).await;
    }
    client.send("GET / HTTP/1.1\r\nHost: hasty\r\n\r\n").await;
    assert_eq!(client.reply().await.status(), "200");
    assert_eq!(client.rest().await, b"");
    // An upload that stops has the same time.
    let mut upload = Raw::connect(lab.address).await;
    upload.send("PUT / HTTP/1.1\r\nHost: hasty\r\nContent-Length: 8\r\n\r\nabc").await;
    assert_eq!(upload.reply().await.status(), "408");
    lab.finish().await;
}
