use http_body_util::BodyExt;
use hyper::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::proxy::tests::actors::{
    backend::{self, full},
    client::Raw,
    lab::{Lab, Plan, Start},
};

#[tokio::test]
async fn the_busy_backend_is_avoided() {
    let answers = |request: hyper::Request<hyper::body::Incoming>| async move {
        if request.uri().path() == "/hang" {
            std::future::pending::<()>().await;
        }
        Response::new(full("ok"))
    };
    let (one, two) = (backend::http(answers).await, backend::http(answers).await);
    let lab = Lab::http(&[one.address, two.address]);
    let mut hanging = Raw::connect(lab.address).await;
    hanging.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    lab.until("the request is under way", |lab| lab.counts().contains(&1)).await;
    let before = lab.connections();
    let mut client = Raw::connect(lab.address).await;
    for _ in 0..20 {
        assert_eq!(client.get("/", "").await.body, "ok");
    }
    let busy = before.iter().position(|&count| count == 1).unwrap();
    assert_eq!(lab.connections()[busy], 1);
    assert_eq!(lab.connections()[1 - busy], 20);
    hanging.vanish();
    lab.finish().await;
}

#[tokio::test]
async fn a_backend_that_refuses_is_passed_over() {
    let backend = backend::saying("ok").await;
    let lab = Lab::http(&[backend::nowhere().await, backend.address]);
    let mut client = Raw::connect(lab.address).await;
    for _ in 0..20 {
        assert_eq!(client.get("/", "").await.body, "ok");
    }
    assert_eq!(lab.tally(), (20, 0));
    lab.finish().await;
}

#[tokio::test]
async fn refused_bodies_go_to_the_next_backend_whole() {
    let backend = backend::echo().await;
    let lab = Lab::http(&[backend::nowhere().await, backend.address]);
    for _ in 0..8 {
        let mut client = Raw::connect(lab.address).await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").await;
        assert!(client.reply().await.body.ends_with("\n\nbody"));
    }
    lab.finish().await;
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let lab = Lab::http(&[backend::nowhere().await]);
    for _ in 0..5 {
        let mut client = Raw::connect(lab.address).await;
        let size = 4 << 20;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")).await;
        client.send(vec![0; size]).await;
        assert_eq!(client.reply().await.status(), "502");
    }
    lab.finish().await;
}

#[tokio::test]
async fn an_early_answer_is_heard_from_a_backend_that_closes_at_once() {
    let backend = backend::raw(|mut stream, _| async move {
        backend::read_head(&mut stream).await;
        let answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig";
        stream.write_all(answer.as_bytes()).await.unwrap();
        // With the body unread, this is a reset.
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    for _ in 0..20 {
        let mut client = Raw::connect(lab.address).await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").await;
        client.send(vec![b'x'; 500_000]).await;
        let reply = client.reply().await;
        assert_eq!((reply.status(), &*reply.body), ("413", "big"));
    }
    lab.finish().await;
}

#[tokio::test]
async fn errors_of_ours_say_why() {
    let nowhere = backend::nowhere().await;
    let lab = Lab::http(&[nowhere]);
    let mut client = Raw::connect(lab.address).await;
    let reply = client.get("/", "").await;
    assert_eq!(reply.status(), "502");
    assert_eq!(reply.header("fly-error"), Some("backend-unreachable"));
    assert_eq!(reply.body, "502 Bad Gateway: no backend accepted the connection\n");
    lab.services[0].backends[0].set_up(false);
    let reply = client.get("/", "").await;
    assert_eq!(reply.status(), "503");
    assert_eq!(reply.header("fly-error"), Some("no-backend-up"));
    client.send("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.starts_with("http/1.1 501 "));
    assert_eq!(lab.tally(), (2, 2));
    lab.finish().await;
}

#[tokio::test]
async fn at_the_hard_limit_nothing_new_is_taken() {
    let backend = backend::http(|_| std::future::pending()).await;
    let mut plan = Plan::http(&[backend.address]);
    plan.hard_limit = Some(1);
    let lab = Start::new(plan).start();
    let mut hanging = Raw::connect(lab.address).await;
    hanging.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    lab.until("the request is under way", |lab| lab.counts() == [1]).await;
    let reply = Raw::connect(lab.address).await.get("/", "").await;
    assert_eq!(reply.status(), "503");
    assert_eq!(reply.header("fly-error"), Some("backends-full"));
    hanging.vanish();
    lab.finish().await;
}

/// Answers one request on each connection, then closes it.
async fn forgetful(ends_after: &'static str) -> backend::Listening {
    backend::raw(move |mut stream, _| async move {
        backend::read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        match ends_after {
            "response" => {}
            // The proxy cannot know before it has sent the next request.
            _ => drop(backend::read_head(&mut stream).await),
        }
    })
    .await
}

#[tokio::test]
async fn kept_connections_that_died_are_replaced_without_the_client_noticing() {
    for ends_after in ["response", "next request"] {
        let backend = forgetful(ends_after).await;
        let lab = Lab::http(&[backend.address]);
        let mut client = Raw::connect(lab.address).await;
        for _ in 0..4 {
            let reply = client.get("/", "").await;
            assert_eq!((reply.status(), &*reply.body), ("200", "ok"));
        }
        assert_eq!(lab.tally(), (4, 0));
        lab.finish().await;
    }
}

#[tokio::test]
async fn what_may_not_be_sent_twice_is_not() {
    let backend = forgetful("next request").await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.get("/", "").await;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    let reply = client.reply().await;
    assert_eq!(reply.status(), "502");
    assert_eq!(reply.header("fly-error"), Some("backend-closed"));
    assert_eq!(backend.accepted(), 1);
    lab.finish().await;
}

#[tokio::test]
async fn nonsense_from_a_backend_is_a_502() {
    let backend = backend::raw(|mut stream, _| async move {
        backend::read_head(&mut stream).await;
        let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").await;
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let reply = Raw::connect(lab.address).await.get("/", "").await;
    assert_eq!(reply.status(), "502");
    assert_eq!(reply.header("fly-error"), Some("backend-bad-response"));
    lab.finish().await;
}

#[tokio::test]
async fn a_response_that_breaks_off_cuts_the_client_off_and_counts_as_failed() {
    let (break_off, broken) = tokio::sync::watch::channel(());
    let backend = backend::raw(move |mut stream, _| {
        let mut broken = broken.clone();
        async move {
            backend::read_head(&mut stream).await;
            let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
            stream.write_all(half).await.unwrap();
            broken.changed().await.unwrap();
        }
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.head().await.starts_with("http/1.1 200 "));
    break_off.send(()).unwrap();
    assert_eq!(client.rest().await, b"half");
    assert_eq!(lab.tally(), (1, 1));
    lab.finish().await;
}

#[tokio::test]
async fn what_came_before_the_break_is_passed_on() {
    for broken in [
        "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nnonsense\r\n",
    ] {
        let backend = backend::raw(move |mut stream, _| async move {
            backend::read_head(&mut stream).await;
            stream.write_all(broken.as_bytes()).await.unwrap();
        })
        .await;
        let lab = Lab::http(&[backend.address]);
        let mut client = Raw::connect(lab.address).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("http/1.1 200 "), "{broken:?}: {head}");
        let rest = String::from_utf8(client.rest().await).unwrap();
        // Cut off: neither so many bytes nor a last chunk.
        assert!(rest.ends_with("part") || rest.ends_with("part\r\n"), "{broken:?}: {rest:?}");
        assert_eq!(lab.tally(), (1, 1), "{broken:?}");
        lab.finish().await;
    }
}

#[tokio::test]
async fn a_broken_request_body_is_the_clients_fault() {
    let backend = backend::http(|request| async move {
        let _ = request.into_body().collect().await;
        Response::new(full("never"))
    })
    .await;
    let lab = Lab::http(&[backend.address]);
    let mut client = Raw::connect(lab.address).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        .await;
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(lab.tally(), (1, 0));
    lab.finish().await;
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let (gone, mut told) = tokio::sync::mpsc::unbounded_channel();
    let backend = backend::raw(move |mut stream, _| {
        let gone = gone.clone();
        async move {
            backend::read_head(&mut stream).await;
            backend::read_head(&mut stream).await;
            gone.send(()).unwrap();
        }
    })
    .await;
    let mut start = Start::new(Plan::http(&[backend.address]));
    start.settings.termination_delay = Some(crate::proxy::tests::actors::client::A_MOMENT);
    let lab = start.start();
    let mut client = Raw::connect(lab.address).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    lab.until("the request is under way", |lab| lab.counts() == [1]).await;
    drop(client);
    told.recv().await.unwrap();
    assert_eq!(lab.tally(), (1, 0));
    lab.finish().await;
}

#[tokio::test]
async fn an_address_or_port_without_a_service_is_reset() {
    let backend = backend::saying("ok").await;
    let lab = Lab::http(&[backend.address]);
    let elsewhere = format!("127.0.0.2:{}", lab.address.port());
    // The reset may come before `connect` has looked, or after.
    let error = match TcpStream::connect(elsewhere).await {
        Ok(mut stream) => stream.read_u8().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    lab.finish().await;
}
