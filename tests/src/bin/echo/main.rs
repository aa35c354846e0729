//! A backend: HTTP/1.1, TCP and UDP servers that say who they are.
//!
//! HTTP: `/healthz` is 200, `/status/N` is N, `/bytes/N` has N bytes, `/delay/MS` waits first,
//! `/mirror` streams the request's body back; everything else gets what was asked, as JSON.

use std::{convert::Infallible, net::Ipv6Addr, time::Duration};

use anyhow::Result;
use clap::Parser;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream, UdpSocket},
};

#[derive(Clone, Parser)]
struct Flags {
    #[arg(long)]
    name: String,
    #[arg(long)]
    http: u16,
    #[arg(long)]
    tcp: u16,
    #[arg(long)]
    udp: u16,
}

type Body = Either<Full<Bytes>, Incoming>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    let http = TcpListener::bind((Ipv6Addr::UNSPECIFIED, flags.http)).await?;
    let tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, flags.tcp)).await?;
    let udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, flags.udp)).await?;
    println!("ready");
    tokio::try_join!(
        serve_http(http, flags.name.clone()),
        serve_tcp(tcp, flags.name.clone()),
        serve_udp(udp, flags.name),
    )?;
    Ok(())
}

async fn serve_http(listener: TcpListener, name: String) -> Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let name = name.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &name, peer.to_string()));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new());
            // The peer's hanging up is its business.
            let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    name: &str,
    peer: String,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut response = match path[1..].split_once('/') {
        Some(("status", code)) => {
            let mut response = Response::new(full(String::new()));
            *response.status_mut() = code.parse().unwrap_or(StatusCode::BAD_REQUEST);
            response
        }
        Some(("bytes", length)) => {
            Response::new(full("x".repeat(length.parse().unwrap_or_default())))
        }
        Some(("delay", ms)) => {
            tokio::time::sleep(Duration::from_millis(ms.parse().unwrap_or_default())).await;
            Response::new(full(name.to_owned()))
        }
        _ if path == "/healthz" => Response::new(full("ok\n".to_owned())),
        _ if path == "/mirror" => Response::new(Either::Right(request.into_body())),
        _ => Response::new(full(describe(request, name, &peer).await.to_string())),
    };
    if let Ok(value) = name.parse() {
        response.headers_mut().insert("x-backend", value);
    }
    Ok(response)
}

async fn describe(request: Request<Incoming>, name: &str, peer: &str) -> Value {
    let (head, body) = request.into_parts();
    // A list of pairs: repeated headers and their order are part of what was seen.
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let body = body.collect().await.map(|body| body.to_bytes().len()).ok();
    json!({
        "server": name,
        "peer": peer,
        "method": head.method.as_str(),
        "uri": head.uri.to_string(),
        "headers": headers,
        "body_bytes": body,
    })
}

fn full(text: String) -> Body {
    Either::Left(Full::new(text.into()))
}

async fn serve_tcp(listener: TcpListener, name: String) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(echo_lines(stream, name.clone()));
    }
}

async fn echo_lines(stream: TcpStream, name: String) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        write.write_all(format!("{name} {line}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn serve_udp(socket: UdpSocket, name: String) -> Result<()> {
    let mut buffer = vec![0; 65536];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            // An ICMP error about an earlier answer.
            continue;
        };
        let mut answer = format!("{name} ").into_bytes();
        answer.extend_from_slice(&buffer[..length]);
        let _ = socket.send_to(&answer, from).await;
    }
}
