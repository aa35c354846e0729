//! `h2_backend`: streams that servers limit, refuse, or never looked at.
//!
//! envoyproxy/envoy#2941, #3076, #13948 and #36450, dotnet/runtime#40249, dotnet/corefx#39005,
//! haproxy/haproxy#2853, linkerd/linkerd2#4262, grpc/grpc-go#2767, golang/go#16510.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::join_all};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame},
};
use tokio::net::TcpStream;

use crate::proxy::tests::actors::{
    backend,
    client::{self, Raw},
    h2_server::{self, Does},
    lab::{Lab, Plan, Start},
};
use crate::{service::HttpOptions, settings::ProxySettings};

fn start(servers: &[std::net::SocketAddr]) -> Start {
    let http = HttpOptions { h2_backend: true, ..HttpOptions::default() };
    Start::new(Plan { http, ..Plan::http(servers) })
}

fn post(body: usize) -> Request<Full<Bytes>> {
    let mut request = client::request("/", Full::new(Bytes::from(vec![b'x'; body])));
    *request.method_mut() = Method::POST;
    request
}

async fn http2(lab: &Lab) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    client::http2(TcpStream::connect(lab.address).await.unwrap()).await
}

#[tokio::test]
async fn there_are_as_many_connections_as_streams_need() {
    // What hangs takes all the room of two connections and half of a third.
    let asked = Arc::<AtomicUsize>::default();
    let script = move |_, _| match asked.fetch_add(1, Ordering::SeqCst) {
        0..25 => Does::Hangs,
        _ => Does::Answers,
    };
    let server = h2_server::server(10, script).await;
    let lab = start(&[server.listening.address]).start();
    let sender = http2(&lab).await;
    let hanging: Vec<_> =
        (0..25).map(|_| tokio::spawn(sender.clone().send_request(post(0)))).collect();
    lab.until("all are under way", |_| server.open.load(Ordering::SeqCst) == 25).await;
    for _ in 0..20 {
        assert_eq!(Raw::connect(lab.address).await.get("/", "").await.status(), "200");
    }
    assert_eq!((server.listening.accepted(), server.most.load(Ordering::SeqCst)), (3, 10));
    for hangs in hanging {
        hangs.abort();
    }
    lab.finish().await;
}

#[tokio::test]
async fn no_first_request_is_one_too_many_for_a_cold_server() {
    for allowed in [1, 7, 1000] {
        let server = h2_server::server(allowed, |_, _| Does::Answers).await;
        let lab = start(&[server.listening.address]).start();
        let ask =
            || async { Raw::connect(lab.address).await.get("/", "").await.status().to_owned() };
        let answered = join_all((0..60).map(|_| ask())).await;
        assert!(answered.iter().all(|status| status == "200"), "{answered:?}");
        assert!(server.most.load(Ordering::SeqCst) <= allowed as usize);
        if allowed > 100 {
            assert_eq!(server.listening.accepted(), 1);
        }
        assert_eq!(lab.tally(), (60, 0));
        lab.finish().await;
    }
}

#[tokio::test]
async fn what_a_server_did_not_look_at_is_sent_again_with_its_body() {
    use Does::{GoesAwayAtLast, GoesAwayAtOnce, GoesAwayInOrder, RefusesAtLast, RefusesAtOnce};
    for does in [RefusesAtOnce, RefusesAtLast, GoesAwayAtOnce, GoesAwayAtLast, GoesAwayInOrder] {
        for body in [0, 5, 200_000] {
            // The first connection serves one request before.
            let server =
                h2_server::server(100, move |connection, request| match (connection, request) {
                    (0, 1..) => does,
                    _ => Does::Answers,
                })
                .await;
            let lab = start(&[server.listening.address]).start();
            let mut sender = http2(&lab).await;
            let first = sender.send_request(post(body)).await.unwrap();
            assert_eq!(client::text(first).await, format!("0 {body}"));
            let connection = usize::from(does != GoesAwayInOrder);
            let again = sender.send_request(post(body)).await.unwrap();
            let text = client::text(again).await;
            assert_eq!(text, format!("{connection} {body}"), "{does:?}, {body} bytes");
            let later = sender.send_request(post(body)).await.unwrap();
            assert_eq!(client::text(later).await, format!("1 {body}"), "{does:?}");
            assert_eq!(lab.tally(), (3, 0));
            lab.finish().await;
        }
    }
}

/// A request that a server fails is not tried on every connection and server there is.
#[tokio::test]
async fn what_a_server_failed_is_sent_once() {
    let failed = Arc::<AtomicUsize>::default();
    let script = {
        let failed = failed.clone();
        move |_, request| match request {
            0 => Does::Answers,
            _ => {
                failed.fetch_add(1, Ordering::SeqCst);
                Does::Fails
            }
        }
    };
    let servers =
        [h2_server::server(100, script.clone()).await, h2_server::server(100, script).await];
    let lab = start(&servers.each_ref().map(|server| server.listening.address)).start();
    for _ in 0..20 {
        let before = failed.load(Ordering::SeqCst);
        let status = Raw::connect(lab.address).await.get("/", "").await.status().to_owned();
        let sent = failed.load(Ordering::SeqCst) - before;
        assert!((status.as_str(), sent) == ("200", 0) || (status.as_str(), sent) == ("502", 1));
    }
    assert!(failed.load(Ordering::SeqCst) >= 18);
    lab.finish().await;
}

#[tokio::test]
async fn another_server_takes_what_one_refuses_for_good() {
    for does in [Does::RefusesAtLast, Does::GoesAwayAtLast] {
        let refusing = h2_server::server(100, move |_, _| does).await;
        let server = h2_server::server(100, |_, _| Does::Answers).await;
        let lab = start(&[refusing.listening.address, server.listening.address]).start();
        for _ in 0..10 {
            let answer = http2(&lab).await.send_request(post(5)).await.unwrap();
            assert!(client::text(answer).await.ends_with(" 5"));
        }
        assert_eq!(lab.tally(), (10, 0));
        lab.finish().await;
    }
}

#[tokio::test]
async fn a_request_that_every_server_refuses_is_a_503_before_long() {
    let server = h2_server::server(100, |_, _| Does::RefusesAtOnce).await;
    let lab = start(&[server.listening.address]).start();
    let reply = Raw::connect(lab.address).await.get("/", "").await;
    assert_eq!((reply.status(), reply.header("fly-error")), ("503", Some("backend-refused")));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(server.listening.accepted(), 3);
    lab.finish().await;
}

#[tokio::test]
async fn a_refused_body_of_which_not_all_is_kept_is_a_503() {
    let server = h2_server::server(100, |_, _| Does::RefusesAtLast).await;
    let mut start = start(&[server.listening.address]);
    start.settings.max_replay_body = 100_000;
    let lab = start.start();
    let parts =
        (0..30).map(|_| Ok::<_, std::convert::Infallible>(Frame::data(vec![0; 10_000].into())));
    let body = StreamBody::new(futures_util::stream::iter(parts));
    let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let answer = sender.send_request(client::request("/", body)).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["fly-error"]),
        (503, &"backend-refused".parse().unwrap())
    );
    assert_eq!(server.listening.accepted(), 1);
    lab.finish().await;
}

/// Whether the client or the server is late is asked of the body that is on its way now, and not of
/// the one that was refused.
#[tokio::test]
async fn after_a_refusal_the_server_that_has_the_whole_body_is_the_late_one() {
    let server = h2_server::server(100, |connection, _| match connection {
        0 => Does::RefusesAtOnce,
        _ => Does::Hangs,
    })
    .await;
    let mut start = start(&[server.listening.address]);
    start.settings.request_timeout = Some(Duration::from_secs(2));
    let lab = start.start();
    let (go_on, rest) = tokio::sync::oneshot::channel::<()>();
    let part = || Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"part")));
    let rest = futures_util::stream::once(async move {
        let _ = rest.await;
        part()
    });
    let parts = Box::pin(futures_util::stream::iter([part()]).chain(rest));
    let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let answer = sender.send_request(client::request("/", StreamBody::new(parts)));
    let answer = tokio::spawn(answer);
    lab.until("it was refused once", |_| server.listening.accepted() == 2).await;
    go_on.send(()).unwrap();
    let answer = answer.await.unwrap().unwrap();
    let why = answer.headers()["fly-error"].to_str().unwrap();
    assert_eq!((answer.status().as_u16(), why), (504, "backend-response-timeout"));
    lab.finish().await;
}

/// golang/go#16510: a server whose connections' windows are no larger than their streams'.
#[tokio::test]
async fn an_upload_that_stands_still_holds_up_no_later_one() {
    let server = h2_server::server(100, |connection, request| match (connection, request) {
        (0, 0) => Does::Stalls,
        _ => Does::Answers,
    })
    .await;
    let lab = start(&[server.listening.address]).start();
    let sender = http2(&lab).await;
    let stalled = tokio::spawn(sender.clone().send_request(post(200_000)));
    lab.until("it is under way", |_| server.open.load(Ordering::SeqCst) == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..3 {
        let upload = sender.clone().send_request(post(100_000)).await.unwrap();
        assert_eq!(client::text(upload).await, "1 100000");
        let question = sender.clone().send_request(post(0)).await.unwrap();
        assert_eq!(client::text(question).await, "0 0", "what has no body needs no window");
    }
    stalled.abort();
    lab.finish().await;
}

#[tokio::test]
async fn who_reads_nothing_holds_up_nobody_else() {
    const SLOW: usize = 99;
    let sent = Arc::<AtomicUsize>::default();
    let counted = sent.clone();
    let backend = backend::h2c(move |request| {
        let counted = counted.clone();
        async move {
            if request.uri().path() == "/small" {
                return Response::new(backend::full("small"));
            }
            let endless = futures_util::stream::repeat_with(move || {
                counted.fetch_add(16_384, Ordering::SeqCst);
                Ok(Frame::data(Bytes::from_static(&[0; 16_384])))
            });
            Response::new(BodyExt::boxed(StreamBody::new(endless)))
        }
    })
    .await;
    let lab = start(&[backend.address]).start();
    let mut sender = client::http2(TcpStream::connect(lab.address).await.unwrap()).await;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let request = client::request("/big", Empty::<Bytes>::new());
        slow.push(sender.send_request(request).await.unwrap());
    }
    // Until all windows are full.
    let mut before = 0;
    while before < SLOW * 100_000 || sent.load(Ordering::SeqCst) > before {
        before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(client::A_MOMENT).await;
    }
    let reply = Raw::connect(lab.address).await.get("/small", "").await;
    assert_eq!(reply.body, "small");
    assert_eq!(backend.accepted(), 1);
    drop(slow);
    lab.finish().await;
}

#[tokio::test]
async fn connections_that_nobody_needs_any_more_are_closed() {
    let server =
        h2_server::server(1, |_, request| if request == 0 { Does::Hangs } else { Does::Answers })
            .await;
    let mut start = start(&[server.listening.address]);
    start.settings =
        ProxySettings { upstream_idle_timeout: Duration::from_millis(50), ..start.settings };
    let lab = start.start();
    let sender = http2(&lab).await;
    let asked: Vec<_> =
        (0..5).map(|_| tokio::spawn(sender.clone().send_request(post(0)))).collect();
    lab.until("each has its connection", |_| server.open.load(Ordering::SeqCst) == 5).await;
    assert_eq!((server.listening.accepted(), server.listening.closed()), (5, 0));
    for asked in asked {
        asked.abort();
    }
    lab.until("all are closed", |_| server.listening.closed() == 5).await;
    lab.finish().await;
}

#[tokio::test]
async fn who_speaks_no_http2_is_passed_over() {
    let (other, server) =
        (backend::saying("no").await, h2_server::server(9, |_, _| Does::Answers).await);
    let lab = start(&[other.address, server.listening.address]).start();
    for _ in 0..10 {
        let answer = http2(&lab).await.send_request(post(5)).await.unwrap();
        assert!(client::text(answer).await.ends_with(" 5"));
    }
    assert_eq!(lab.tally(), (10, 0));
    lab.finish().await;
}
