//! A server's stream, watched until the server has given out its key.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    keys::{CancelKeys, RegisteredKey},
    message::KeyScan,
};
use crate::proxy::net::relay::RelayStream;

/// While it lives, cancel requests with its key find its server.
pub(crate) struct KeyScanningStream {
    stream: TcpStream,
    address: SocketAddr,
    keys: Arc<CancelKeys>,
    scan: KeyScan,
    entry: Option<RegisteredKey>,
}

impl KeyScanningStream {
    pub(super) fn new(stream: TcpStream, keys: Arc<CancelKeys>, address: SocketAddr) -> Self {
        Self { stream, address, keys, scan: KeyScan::default(), entry: None }
    }
}

/// The scan must see what comes, so there is no socket to splice.
impl RelayStream for KeyScanningStream {}

impl AsyncRead for KeyScanningStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if !this.scan.is_over()
            && let Some(key) = this.scan.feed(&buf.filled()[before..])
        {
            this.entry = Some(this.keys.enter(key, this.address));
        }
        read
    }
}

impl AsyncWrite for KeyScanningStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
