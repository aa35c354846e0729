//! WebSockets that are held: a line, its echo, and so on. None may end.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::count::{Count, joined};
use crate::{
    actors::client::Stream,
    lab::{netns::Netns, topology::Lab},
    torture::names::HOST,
};

/// Between two lines.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// RFC 6455, 1.2: a key of a client's.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub(super) struct WebSocket(JoinHandle<Count>);

impl WebSocket {
    /// One over HTTP/1.1.
    pub(super) fn open(lab: &Lab, to: SocketAddr, stop: Arc<AtomicBool>) -> Result<Self> {
        let client = Netns::existing(lab.client.name()).context("no client")?;
        Ok(Self(thread::spawn(move || {
            let mut count = Count::of("WebSockets over HTTP/1.1");
            while !stop.load(Ordering::Relaxed) {
                match client.within(|| upgraded(to)).and_then(|it| it) {
                    Ok(stream) => hold(stream, &stop, &mut count),
                    Err(error) => count.fail(&error.context("opening a WebSocket")),
                }
            }
            count
        })))
    }

    pub(super) fn close(self) -> Result<Count> {
        joined(self.0)
    }
}

fn upgraded(to: SocketAddr) -> Result<Stream> {
    let mut stream = Stream::connect(to)?;
    let head = stream.ask(&format!(
        "GET /upgrade HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    ))?;
    ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
    Ok(stream)
}

fn hold(mut stream: Stream, stop: &AtomicBool, count: &mut Count) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let line = format!("line {number}\n");
        let heard = stream.send(&line).and_then(|()| stream.take(line.len()));
        match heard {
            Ok(echo) if echo == line => count.requests += 1,
            Ok(echo) => return count.lose(&anyhow::anyhow!("heard {echo:?} for {line:?}")),
            Err(error) => return count.lose(&error.context(format!("after {number} lines"))),
        }
        thread::sleep(PAUSE);
    }
}
