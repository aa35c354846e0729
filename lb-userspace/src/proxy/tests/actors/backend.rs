//! Backends: hyper for what is well-behaved, a bare socket for what is not.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(crate) type Body = BoxBody<Bytes, Infallible>;

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// A listening backend and how many connections it has accepted.
pub(crate) struct Listening {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Listening {
    /// One that is not there.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, accepted: Arc::default(), closed: Arc::default() }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Connections that it has done with.
    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }
}

/// Runs `serve` on each connection, with its number.
pub(crate) async fn raw<F, R>(serve: F) -> Listening
where
    F: Fn(TcpStream, usize) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let closed = Arc::new(AtomicUsize::new(0));
    let (count, done) = (accepted.clone(), closed.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let number = count.fetch_add(1, Ordering::SeqCst);
            let (served, done) = (serve(stream, number), done.clone());
            tokio::spawn(async move {
                served.await;
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    Listening { address, accepted, closed }
}

/// An HTTP/1.1 server.
pub(crate) async fn http<F, R>(answer: F) -> Listening
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    raw(move |stream, _| {
        let service = answering(answer.clone());
        async move {
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = served.with_upgrades().await;
        }
    })
    .await
}

/// An HTTP/2 server without TLS.
pub(crate) async fn h2c<F, R>(answer: F) -> Listening
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    raw(move |stream, _| {
        let service = answering(answer.clone());
        async move {
            let server = http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

type Reply = Response<Body>;

fn answering<F, R>(
    answer: F,
) -> impl Service<Request<Incoming>, Response = Reply, Error = Infallible, Future: Send> + Send
where
    F: Fn(Request<Incoming>) -> R + Send,
    R: Future<Output = Response<Body>> + Send,
{
    service_fn(move |request| {
        let answered = answer(request);
        async move { Ok(answered.await) }
    })
}

/// Answers every request with `text`.
pub(crate) async fn saying(text: &'static str) -> Listening {
    http(move |_| async move { Response::new(full(text)) }).await
}

/// Answers with what it received: the request line, its headers by name, a blank line, the body.
pub(crate) async fn echo() -> Listening {
    http(|request| async move {
        let mut lines: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        let mut text = format!("{line}\n{}\n\n", lines.join("\n")).into_bytes();
        text.extend_from_slice(&body.unwrap_or_default());
        Response::new(full(text))
    })
    .await
}

/// An address where nobody listens.
pub(crate) async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Reads up to the end of one header section.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Sends everything back, and its end after the client's.
pub(crate) async fn mirror() -> Listening {
    raw(|mut stream, _| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}
