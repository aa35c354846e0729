//! A stream whose other end is heard out even when it takes nothing more.
//!
//! A server may answer before it has read a whole request, and close (RFC 9112 9.6 asks it to
//! linger; many do not). Writing the rest then fails while the answer is here to be read.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) struct EarlyResponseStream<T> {
    stream: T,
    /// Writing failed: nothing more is written, and the end shows in what is read.
    is_deaf: bool,
}

impl<T> EarlyResponseStream<T> {
    pub(crate) fn new(stream: T) -> Self {
        Self { stream, is_deaf: false }
    }

    pub(crate) fn into_inner(self) -> T {
        self.stream
    }

    fn hear(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>>
    where
        T: Unpin,
    {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        if self.is_deaf {
            return Poll::Pending;
        }
        match ready!(write(Pin::new(&mut self.stream), cx)) {
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => {
                self.is_deaf = true;
                // What can be read was perhaps asked for before this came.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for EarlyResponseStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for EarlyResponseStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.hear(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.hear(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
