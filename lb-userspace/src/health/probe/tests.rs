use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{exhaustion::FailureCause, service::ProxyProtocol};

const LONG: Duration = Duration::from_secs(60);

fn check(probe: Probe, timeout: Duration) -> HealthCheck {
    HealthCheck { timeout, ..HealthCheck::plain(probe) }
}

async fn probe(check: &HealthCheck, server: SocketAddr) -> Result<(), CheckFailure> {
    super::probe(check, CheckProtocol::default(), &CheckTarget::own_address(server), None).await
}

fn http(status: Option<u16>) -> Probe {
    Probe::Http {
        path: "/healthz?deep=1".into(),
        method: "GET".into(),
        hostname: None,
        headers: Vec::new(),
        status,
    }
}

/// Starts a server that answers every request with `response` and never closes. Also returns what
/// it received.
async fn serve(response: &'static str) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(String::new()));
    let note = asked.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        *note.lock().unwrap() = String::from_utf8(request).unwrap();
        stream.write_all(response.as_bytes()).await.unwrap();
        // Stays open, whatever the client does.
        std::future::pending::<()>().await;
    });
    (address, asked)
}

/// Returns a local address without a listener.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn tcp_wants_a_listener() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let check = check(Probe::Tcp, LONG);
    probe(&check, listener.local_addr().unwrap()).await.unwrap();
    let failure = probe(&check, nobody().await).await.unwrap_err();
    assert!(matches!(failure, CheckFailure::Connect(_)), "{failure}");
    assert!(failure.to_string().contains("refused"), "{failure}");
}

#[tokio::test]
async fn any_good_status_will_do_unless_one_is_named() {
    for (response, wanted, healthy) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None, true),
        ("HTTP/1.1 204 No Content\r\n\r\n", None, true),
        ("HTTP/1.1 399 \r\ncontent-length: 0\r\n\r\n", None, true),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", None, false),
        ("HTTP/1.1 503 \r\ncontent-length: 0\r\n\r\n", None, false),
        ("HTTP/1.1 503 \r\ncontent-length: 0\r\n\r\n", Some(503), true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Some(204), false),
        ("HTTP/1.0 200 OK\r\n\r\n", None, true),
    ] {
        let (server, _) = serve(response).await;
        let outcome = probe(&check(http(wanted), LONG), server).await;
        assert_eq!(outcome.is_ok(), healthy, "{response}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_failure_says_what_was_wanted() {
    let (server, _) = serve("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").await;
    let failure = probe(&check(http(None), LONG), server).await.unwrap_err();
    assert_eq!(failure.to_string(), "answered 500 Internal Server Error instead of 200 to 399");
}

#[tokio::test]
async fn a_body_without_end_is_not_read() {
    let (server, _) =
        serve("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello").await;
    probe(&check(http(None), LONG), server).await.unwrap();
}

#[tokio::test]
async fn the_request_is_what_was_configured() {
    let (server, asked) = serve("HTTP/1.1 200 OK\r\n\r\n").await;
    let custom = Probe::Http {
        path: "/healthz?deep=1".into(),
        method: "OPTIONS".into(),
        hostname: Some("app.internal".into()),
        headers: vec![("X-Probe".into(), "yes".into()), ("User-Agent".into(), "mine".into())],
        status: None,
    };
    probe(&check(custom, LONG), server).await.unwrap();
    let asked = asked.lock().unwrap().to_lowercase();
    assert!(asked.starts_with("options /healthz?deep=1 http/1.1\r\n"), "{asked}");
    for line in ["host: app.internal", "x-probe: yes", "user-agent: mine"] {
        assert!(asked.contains(&format!("\r\n{line}\r\n")), "no {line} in {asked}");
    }
}

#[tokio::test]
async fn the_host_defaults_to_the_address() {
    let (server, asked) = serve("HTTP/1.1 200 OK\r\n\r\n").await;
    probe(&check(http(None), LONG), server).await.unwrap();
    assert!(asked.lock().unwrap().contains(&format!("host: {server}\r\n")));
}

/// Starts a server that speaks only HTTP/2, from the first byte on. Also returns what it received.
async fn serve_h2() -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(String::new()));
    let note = asked.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
            *note.lock().unwrap() = format!("{} {:?}", request.uri(), request.headers());
            async { Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from("a body")))) }
        });
        let server = http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), answer).await;
    });
    (address, asked)
}

#[tokio::test]
async fn http2_is_spoken_where_the_traffic_speaks_it() {
    let (server, asked) = serve_h2().await;
    let protocol = CheckProtocol { h2: true, proxy_proto: None };
    own_address(&check(http(None), LONG), protocol, server).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    assert!(asked.starts_with(&format!("http://{server}/healthz?deep=1 ")), "{asked}");
    assert!(asked.contains("lb-health-check") && !asked.contains("connection"), "{asked}");
    let (server, _) = serve_h2().await;
    let failure = probe(&check(http(None), LONG), server).await.unwrap_err();
    assert!(matches!(failure, CheckFailure::Http(_)), "{failure}");
    assert_eq!(failure.cause(), FailureCause::Peer);
}

#[tokio::test]
async fn a_proxy_header_goes_first_where_the_traffic_has_one() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let announced = |version| CheckProtocol { h2: false, proxy_proto: Some(version) };
    for (version, expected) in [
        (ProxyProtocol::V1, &b"PROXY TCP6 ::1 ::1 "[..]),
        (ProxyProtocol::V2, b"\r\n\r\n\0\r\nQUIT\n "),
    ] {
        let tcp = check(Probe::Tcp, LONG);
        let (probed, begun) = tokio::join!(own_address(&tcp, announced(version), server), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut begun = Vec::new();
            stream.read_to_end(&mut begun).await.unwrap();
            begun
        });
        probed.unwrap();
        assert!(begun.starts_with(expected), "{begun:?}");
    }
    let request = check(http(None), LONG);
    let (probed, ()) =
        tokio::join!(own_address(&request, announced(ProxyProtocol::V2), server), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut begun = [0; 16 + 4];
            stream.read_exact(&mut begun).await.unwrap();
            assert_eq!(begun[16..], *b"GET ", "{begun:?}");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        });
    probed.unwrap();
}

/// A server that this host did not poll for a while may have answered in time.
#[tokio::test]
async fn time_that_this_host_wasted_is_not_the_servers() {
    let (silent, _) = serve("").await;
    let check = check(http(None), Duration::from_millis(1));
    let busy = async {
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(600));
    };
    let (probed, ()) = tokio::join!(biased; probe(&check, silent), busy);
    let failure = probed.unwrap_err();
    assert!(matches!(failure, CheckFailure::Neglected(_)), "{failure}");
    assert_eq!(failure.cause(), FailureCause::Resource);
}

#[tokio::test]
async fn silence_and_nonsense_are_failures() {
    let (silent, _) = serve("").await;
    let timeout = Duration::from_millis(30);
    let failure = probe(&check(http(None), timeout), silent).await.unwrap_err();
    assert_eq!(failure.to_string(), "no answer within 30ms");
    let (mad, _) = serve("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    let failure = probe(&check(http(None), LONG), mad).await.unwrap_err();
    assert!(matches!(failure, CheckFailure::Http(_)), "{failure}");
}
