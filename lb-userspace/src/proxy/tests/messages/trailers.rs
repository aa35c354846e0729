//! What follows a body, by every pair of versions.

use std::convert::Infallible;

use http_body_util::{BodyExt, StreamBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Body, Bytes, Frame, Incoming},
    header::{HeaderName, HeaderValue},
};
use tokio::net::TcpStream;

use crate::proxy::tests::actors::{
    backend::{self, Listening},
    client::{self, Raw, http2},
    lab::{Lab, Plan, Start},
};
use crate::service::HttpOptions;

/// Whether they are announced (`Trailer`) by who sends them.
const ANNOUNCED: [bool; 2] = [true, false];

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.iter().map(field).collect()
}

/// Says in `x-got` which trailers came, and sends some, of which one has no business there.
async fn answer(request: Request<Incoming>) -> Response<backend::Body> {
    let is_announced = request.headers().contains_key("x-announce");
    let got = request.into_body().collect().await.unwrap();
    let mut got: Vec<_> = got
        .trailers()
        .into_iter()
        .flat_map(HeaderMap::iter)
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    got.sort();
    let trailers = fields(&[("x-sum", "42"), ("content-length", "7"), ("x-other", "1")]);
    let mut response = Response::new(BodyExt::boxed(followed("body", trailers)));
    response.headers_mut().insert("x-got", got.join(",").parse().unwrap());
    if is_announced {
        let names = HeaderValue::from_static("x-sum, content-length, x-other");
        response.headers_mut().insert("trailer", names);
    }
    response
}

/// A body of unknown length.
fn followed(
    text: &'static str,
    trailers: HeaderMap,
) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + Send + Sync {
    let frames = [Frame::data(Bytes::from_static(text.as_bytes())), Frame::trailers(trailers)];
    StreamBody::new(futures_util::stream::iter(frames.map(Ok)))
}

async fn lab(h2_backend: bool) -> (Listening, Lab) {
    let backend = if h2_backend { backend::h2c(answer).await } else { backend::http(answer).await };
    let http = HttpOptions { h2_backend, ..HttpOptions::default() };
    let lab = Start::new(Plan { http, ..Plan::http(&[backend.address]) }).start();
    (backend, lab)
}

/// hyper sends by HTTP/1.1 only what was announced.
#[tokio::test]
async fn by_http1() {
    const SENT: &str = "x-sum: 1\r\nFly-Client-IP: 192.0.2.9\r\nX_Forwarded-For: 192.0.2.9\r\n\
                        Content-Length: 9\r\nX-Other: 2\r\n";
    const NAMES: &str = "x-sum, fly-client-ip, x_forwarded-for, content-length, x-other";
    for h2_backend in [false, true] {
        let (_backend, lab) = lab(h2_backend).await;
        let mut client = Raw::connect(lab.address).await;
        for is_announced in ANNOUNCED {
            for te in ["TE: trailers\r\n", ""] {
                let told = format!("Trailer: {NAMES}\r\nX-Announce: 1\r\n");
                let told = if is_announced { &*told } else { "" };
                let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{te}{told}");
                let chunks =
                    format!("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{SENT}\r\n");
                client.send(head + &chunks).await;
                let reply = client.reply().await;
                let reaches = is_announced || h2_backend;
                let got = if reaches { "x-other=2,x-sum=1" } else { "" };
                let case = format!("{h2_backend} {is_announced} {te:?}: {reply:?}");
                assert_eq!(reply.header("x-got").unwrap(), got, "{case}");
                let comes = is_announced && !te.is_empty();
                assert_eq!(reply.body.contains("x-sum: 42\r\n"), comes, "{case}");
                assert_eq!(reply.body.contains("x-other: 1\r\n"), comes, "{case}");
                assert!(!reply.body.contains("content-length"), "{case}");
            }
        }
        drop(client);
        lab.finish().await;
    }
}

#[tokio::test]
async fn by_http2() {
    for h2_backend in [false, true] {
        let (_backend, lab) = lab(h2_backend).await;
        let mut sender = http2(TcpStream::connect(lab.address).await.unwrap()).await;
        for is_announced in ANNOUNCED {
            let sent = fields(&[("x-sum", "1"), ("fly-client-ip", "192.0.2.9"), ("host", "b")]);
            let mut request = client::request("/", followed("hi", sent));
            if is_announced {
                // That it is said besides makes no difference.
                request.headers_mut().insert("content-length", "2".parse().unwrap());
            }
            *request.method_mut() = hyper::Method::POST;
            request.headers_mut().insert("te", "trailers".parse().unwrap());
            if is_announced {
                request.headers_mut().insert("x-announce", "1".parse().unwrap());
                let names = HeaderValue::from_static("x-sum, fly-client-ip, host");
                request.headers_mut().insert("trailer", names);
            }
            let response = sender.send_request(request).await.unwrap();
            let reaches = is_announced || h2_backend;
            let got = if reaches { "x-sum=1" } else { "" };
            assert_eq!(response.headers()["x-got"], got, "{h2_backend} {is_announced}");
            let trailers = response.into_body().collect().await.unwrap().trailers().cloned();
            let expected = fields(&[("x-sum", "42"), ("x-other", "1")]);
            // The backend's own hyper sends none by HTTP/1.1 that it did not announce.
            assert_eq!(trailers, reaches.then_some(expected), "{h2_backend} {is_announced}");
        }
        drop(sender);
        lab.finish().await;
    }
}
