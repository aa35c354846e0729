//! The same over HTTP/2: streams that extended CONNECT opened (RFC 8441), several on a connection.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, ensure};
use http_body_util::Empty;
use hyper::{
    Method, Request, body::Bytes, client::conn::http2, ext::Protocol, header, upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time,
};

use super::{
    count::{Count, joined},
    websocket::{KEY, PAUSE},
};
use crate::{
    lab::{netns::Netns, process::PATIENCE, topology::Lab},
    torture::names::HOST,
};

const KIND: &str = "WebSockets over HTTP/2";
const STREAMS: usize = 3;

type Sender = http2::SendRequest<Empty<Bytes>>;

pub(super) struct Connection(JoinHandle<Count>);

impl Connection {
    /// One connection and its WebSockets.
    pub(super) fn open(lab: &Lab, to: SocketAddr, stop: Arc<AtomicBool>) -> Result<Self> {
        let client = Netns::existing(lab.client.name()).context("no client")?;
        Ok(Self(thread::spawn(move || {
            let mut count = Count::of(KIND);
            while !stop.load(Ordering::Relaxed) {
                let held = client.within(|| run(to, stop.clone())).and_then(|it| it);
                match held {
                    Ok(held) => count.add(held),
                    Err(error) => count.fail(&error.context("opening WebSockets")),
                }
            }
            count
        })))
    }

    pub(super) fn close(self) -> Result<Count> {
        joined(self.0)
    }
}

/// Until the end, or until all of them are lost.
fn run(to: SocketAddr, stop: Arc<AtomicBool>) -> Result<Count> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sender = connect(to).await?;
        let mut held = JoinSet::new();
        for _ in 0..STREAMS {
            held.spawn(hold(open(&mut sender).await?, stop.clone()));
        }
        let mut all = Count::of(KIND);
        while let Some(one) = held.join_next().await {
            all.add(one?);
        }
        Ok(all)
    })
}

/// A connection whose settings are known: one request was answered.
async fn connect(to: SocketAddr) -> Result<Sender> {
    let stream = time::timeout(PATIENCE, TcpStream::connect(to)).await??;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(format!("http://{HOST}/bytes/1")).body(Empty::new())?;
    let response = time::timeout(PATIENCE, sender.send_request(request)).await??;
    ensure!(response.status() == 200, "{}", response.status());
    Ok(sender)
}

async fn open(sender: &mut Sender) -> Result<TokioIo<Upgraded>> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{HOST}/upgrade"))
        .extension(Protocol::from_static("websocket"))
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, KEY)
        .body(Empty::new())?;
    let response = time::timeout(PATIENCE, sender.send_request(request)).await??;
    ensure!(response.status() == 200, "CONNECT is answered with {}", response.status());
    Ok(TokioIo::new(hyper::upgrade::on(response).await?))
}

async fn hold(mut stream: TokioIo<Upgraded>, stop: Arc<AtomicBool>) -> Count {
    let mut count = Count::of(KIND);
    while !stop.load(Ordering::Relaxed) {
        let line = format!("line {}\n", count.requests);
        if let Err(error) = echo(&mut stream, &line).await {
            count.lose(&error.context(format!("after {} lines", count.requests)));
            return count;
        }
        count.requests += 1;
        time::sleep(PAUSE).await;
    }
    count
}

async fn echo(stream: &mut TokioIo<Upgraded>, line: &str) -> Result<()> {
    stream.write_all(line.as_bytes()).await?;
    let mut heard = vec![0; line.len()];
    time::timeout(PATIENCE, stream.read_exact(&mut heard)).await??;
    ensure!(heard == line.as_bytes(), "heard {heard:?} for {line:?}");
    Ok(())
}
