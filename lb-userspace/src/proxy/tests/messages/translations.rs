//! What two versions of HTTP say differently, row by row: RFC 9112, and RFC 9113 8.1 to 8.3, by
//! every pair of versions that a client and a server may speak.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame, Incoming},
    header::{HeaderName, HeaderValue},
};
use tokio::net::TcpStream;

use crate::proxy::tests::actors::{
    backend::{self, Listening},
    client::{self, Raw, http2},
    lab::{Lab, Plan, Start},
};
use crate::service::HttpOptions;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Http10,
    Http11,
    Http2,
}

const ALL: &[By] = &[By::Http10, By::Http11, By::Http2];
const ONE: &[By] = &[By::Http10, By::Http11];
const NEW: &[By] = &[By::Http11, By::Http2];

#[derive(Clone, Copy, Debug)]
enum Sent {
    Nothing,
    /// With its length.
    Whole,
    /// Without.
    Streamed,
}

/// A request, and its fields as a server has them that speaks HTTP/1.1, or HTTP/2. Without those of
/// the table in docs/http.md.
struct Row(
    &'static str,
    &'static [By],
    &'static str,
    &'static [(&'static str, &'static str)],
    Sent,
    &'static [&'static str],
    &'static [&'static str],
);

const ROWS: &[Row] = &[
    Row(
        "a cookie in several fields is one line",
        &[By::Http2],
        "GET",
        &[("cookie", "a=1"), ("x-mine", "1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")],
        Sent::Nothing,
        &["cookie: a=1; b=2; c=3; d=4", "x-mine: 1"],
        &["cookie: a=1; b=2; c=3; d=4", "x-mine: 1"],
    ),
    Row(
        "a cookie",
        ALL,
        "GET",
        &[("cookie", "a=1")],
        Sent::Nothing,
        &["cookie: a=1"],
        &["cookie: a=1"],
    ),
    Row(
        "several cookies by HTTP/1 are the client's own doing",
        ONE,
        "GET",
        &[("cookie", "a=1"), ("cookie", "b=2")],
        Sent::Nothing,
        &["cookie: a=1", "cookie: b=2"],
        &["cookie: a=1", "cookie: b=2"],
    ),
    Row("no body", ALL, "GET", &[], Sent::Nothing, &[], &[]),
    Row("no body", ALL, "DELETE", &[], Sent::Nothing, &[], &[]),
    Row("no body", ALL, "POST", &[], Sent::Nothing, &["content-length: 0"], &["content-length: 0"]),
    Row("no body", ALL, "PUT", &[], Sent::Nothing, &["content-length: 0"], &["content-length: 0"]),
    Row(
        "no body",
        ALL,
        "PATCH",
        &[],
        Sent::Nothing,
        &["content-length: 0"],
        &["content-length: 0"],
    ),
    Row(
        "a length of nothing that is said",
        ALL,
        "DELETE",
        &[("content-length", "0")],
        Sent::Nothing,
        &["content-length: 0"],
        &["content-length: 0"],
    ),
    Row("a body", ALL, "POST", &[], Sent::Whole, &["content-length: 5"], &["content-length: 5"]),
    Row("a body", ALL, "GET", &[], Sent::Whole, &["content-length: 5"], &["content-length: 5"]),
    Row("an endless body", NEW, "POST", &[], Sent::Streamed, &["transfer-encoding: chunked"], &[]),
    Row("an endless body", NEW, "GET", &[], Sent::Streamed, &["transfer-encoding: chunked"], &[]),
    Row(
        "fields that one connection has",
        ONE,
        "GET",
        &[
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("http2-settings", "AAMA"),
            ("te", "gzip;q=0.5"),
        ],
        Sent::Nothing,
        &[],
        &[],
    ),
    Row(
        "a settings field that nobody names",
        ALL,
        "GET",
        &[("http2-settings", "AAMA")],
        Sent::Nothing,
        &[],
        &[],
    ),
    Row(
        "trailers are welcome",
        NEW,
        "GET",
        &[("te", "trailers")],
        Sent::Nothing,
        &["connection: te", "te: trailers"],
        &["te: trailers"],
    ),
    Row(
        "trailers are welcome, among codings",
        ONE,
        "GET",
        &[("te", "gzip;q=0.5, Trailers")],
        Sent::Nothing,
        &["connection: te", "te: trailers"],
        &["te: trailers"],
    ),
    Row("an unknown expectation", ALL, "GET", &[("expect", "x")], Sent::Nothing, &[], &[]),
    Row(
        "no body to be asked for",
        ALL,
        "GET",
        &[("expect", "100-continue")],
        Sent::Nothing,
        &[],
        &[],
    ),
    Row(
        "an empty value",
        ALL,
        "GET",
        &[("x-mine", "")],
        Sent::Nothing,
        &["x-mine: "],
        &["x-mine: "],
    ),
    Row(
        "bytes that are no text",
        ALL,
        "GET",
        &[("x-mine", "\u{e4}")],
        Sent::Nothing,
        &["x-mine: \u{e4}"],
        &["x-mine: \u{e4}"],
    ),
    Row(
        "several values",
        ALL,
        "GET",
        &[("x-mine", "1"), ("x-mine", "2"), ("date", "then"), ("via", "1.0 x")],
        Sent::Nothing,
        &["date: then", "via: 1.0 x", "x-mine: 1", "x-mine: 2"],
        &["date: then", "via: 1.0 x", "x-mine: 1", "x-mine: 2"],
    ),
    Row(
        "HTTP/1.0 knows no upgrade",
        &[By::Http10],
        "GET",
        &[("connection", "upgrade"), ("upgrade", "websocket")],
        Sent::Nothing,
        &[],
        &[],
    ),
    Row(
        "names that are read like those of framing",
        ALL,
        "POST",
        &[
            ("content_length", "7"),
            ("content.length", "7"),
            ("transfer_encoding", "chunked"),
            ("transfer~encoding", "chunked"),
            ("keep_alive", "1"),
            ("fly.client.ip", "192.0.2.9"),
            ("fly-client_ip", "192.0.2.9"),
            ("x_forwarded_host", "b"),
            ("x-forwarded.for", "192.0.2.9"),
            ("x.real.ip", "192.0.2.9"),
            ("x_mine", "1"),
            ("content_type", "text/plain"),
        ],
        Sent::Whole,
        &["content-length: 5", "content_type: text/plain", "x_mine: 1"],
        &["content-length: 5", "content_type: text/plain", "x_mine: 1"],
    ),
    Row(
        "what strangers say as if they were proxies",
        ALL,
        "GET",
        &[
            ("forwarded", "for=192.0.2.9;host=b"),
            ("x-real-ip", "192.0.2.9"),
            ("x-forwarded-host", "b"),
            ("x-forwarded-server", "b"),
            ("x-forwarded-prefix", "/admin"),
            ("x-forwarded-uri", "/admin"),
            ("x-forwarded-user", "root"),
            ("x-forwarded", "kept"),
        ],
        Sent::Nothing,
        &["x-forwarded: kept"],
        &["x-forwarded: kept"],
    ),
];

/// Answers with the request line and the fields that are not in every request.
async fn telling(request: Request<Incoming>) -> Response<backend::Body> {
    let of_table = |name: &str| {
        ["host", "fly-client-ip", "fly-forwarded-port", "fly-region"].contains(&name)
            || ["for", "proto", "ssl", "port"].iter().any(|it| name == format!("x-forwarded-{it}"))
    };
    let fields = request.headers().iter().filter(|(name, _)| !of_table(name.as_str()));
    let mut lines: Vec<_> = fields
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let host = host.or_else(|| Some(request.uri().authority()?.to_string())).unwrap_or_default();
    let path = request.uri().path_and_query().unwrap();
    let line = format!("{} {path} {host}", request.method());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body);
    Response::new(backend::full(format!("{line}\n{body}\n{}", lines.join("\n"))))
}

async fn lab(h2_backend: bool) -> (Listening, Lab) {
    let backend =
        if h2_backend { backend::h2c(telling).await } else { backend::http(telling).await };
    let http = HttpOptions { h2_backend, ..HttpOptions::default() };
    let lab = Start::new(Plan { http, ..Plan::http(&[backend.address]) }).start();
    (backend, lab)
}

/// Asks by one of the versions of HTTP/1: the answer's head and body.
async fn ask1(address: SocketAddr, version: &str, row: &Row) -> String {
    let Row(_, _, method, fields, sent, ..) = row;
    let mut text = format!("{method} /x?y HTTP/{version}\r\nHost: app.example.com\r\n");
    for (name, value) in *fields {
        text += &format!("{name}: {value}\r\n");
    }
    text += match sent {
        Sent::Nothing => "\r\n",
        Sent::Whole => "Content-Length: 5\r\n\r\nhello",
        Sent::Streamed => "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    };
    let mut client = Raw::connect(address).await;
    client.send(&text).await;
    client.reply().await.body
}

async fn ask2(address: SocketAddr, row: &Row) -> String {
    let Row(_, _, method, fields, sent, ..) = row;
    let hello = Bytes::from_static(b"hello");
    let body: BoxBody<Bytes, std::convert::Infallible> = match sent {
        Sent::Nothing => BoxBody::default(),
        Sent::Whole => Full::new(hello).boxed(),
        Sent::Streamed => {
            let frames = [Ok(Frame::data(hello))];
            BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
        }
    };
    let mut request = client::request("/x?y", body);
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    for (name, value) in *fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(HeaderName::from_static(name), value);
    }
    let mut sender = http2(TcpStream::connect(address).await.unwrap()).await;
    client::text(sender.send_request(request).await.unwrap()).await
}

#[tokio::test]
async fn requests() {
    for h2_backend in [false, true] {
        let (_backend, lab) = lab(h2_backend).await;
        for row in ROWS {
            let Row(what, clients, method, _, sent, by_http1, by_http2) = row;
            for by in *clients {
                let told = match by {
                    By::Http10 => ask1(lab.address, "1.0", row).await,
                    By::Http11 => ask1(lab.address, "1.1", row).await,
                    By::Http2 => ask2(lab.address, row).await,
                };
                let case = format!("{what}: {method} by {by:?}, {h2_backend}");
                let mut lines = told.lines();
                let line = format!("{method} /x?y app.example.com");
                assert_eq!(lines.next(), Some(&*line), "{case}");
                let body = if matches!(sent, Sent::Nothing) { "" } else { "hello" };
                assert_eq!(lines.next(), Some(body), "{case}");
                let expected = if h2_backend { by_http2 } else { by_http1 };
                assert_eq!(&lines.collect::<Vec<_>>(), expected, "{case}");
            }
        }
        lab.finish().await;
    }
}

/// Requests of HTTP/1.0 without a host, for a service that takes every name and for one that does
/// not.
#[tokio::test]
async fn without_a_host() {
    for h2_backend in [false, true] {
        let (_backend, lab) = lab(h2_backend).await;
        let mut client = Raw::connect(lab.address).await;
        client.send("GET /x HTTP/1.0\r\n\r\n").await;
        let reply = client.reply().await;
        let line = format!("GET /x {}", lab.address);
        assert_eq!(reply.body.lines().next(), Some(&*line), "{reply:?}");
        lab.finish().await;
    }
    let backend = backend::saying("ok").await;
    let plan = Plan { hostnames: vec!["a".into()], ..Plan::http(&[backend.address]) };
    let lab = Start::new(plan).start();
    for (request, status, word) in [
        ("GET / HTTP/1.0\r\n\r\n", "400", Some("bad-host")),
        ("GET / HTTP/1.0\r\nHost:\r\n\r\n", "400", Some("bad-host")),
        ("GET / HTTP/1.0\r\nHost: b\r\n\r\n", "404", Some("unknown-host")),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "200", None),
        ("GET http://a HTTP/1.0\r\n\r\n", "200", None),
        ("GET http://a HTTP/1.1\r\n\r\n", "400", Some("bad-host")),
        ("GET / HTTP/1.1\r\n\r\n", "400", Some("bad-host")),
    ] {
        let mut client = Raw::connect(lab.address).await;
        client.send(request).await;
        let reply = client.reply().await;
        assert_eq!((reply.status(), reply.header("fly-error")), (status, word), "{request:?}");
    }
    lab.finish().await;
}
