//! A client's stream as hyper has it: what passes is seen, what hyper says of its own accord is
//! kept back, and what backends say first is put between.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::body::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use crate::proxy::{
    http::h2_frames::TargetFragments,
    net::{coalesce, relay::RelayStream},
};

/// A client's stream that tells its [`Activity`] what happens, and can give back what was read of
/// it.
pub(crate) struct ObservedStream<T> {
    pub stream: T,
    ahead: Bytes,
    activity: Rc<Activity>,
    /// Only of HTTP/2.
    fragments: Option<Box<TargetFragments>>,
    /// What came last belongs to a malformed body: nothing more is read.
    is_spoilt: bool,
}

impl<T> ObservedStream<T> {
    /// `ahead` was read from `stream` already.
    pub(crate) fn new(stream: T, ahead: Bytes, activity: Rc<Activity>) -> Self {
        let fragments = (!activity.is_http1()).then(Box::default);
        Self { stream, ahead, activity, fragments, is_spoilt: false }
    }

    /// What was read behind `before`. Of a malformed body hyper has what is sound, and then an
    /// error.
    fn saw(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        if let Some(fragments) = &mut self.fragments {
            return fragments.mark(&mut buf.filled_mut()[before..]);
        }
        let read = buf.filled().len() - before;
        let sound = self.activity.read(&buf.filled()[before..]);
        if sound < read {
            self.is_spoilt = true;
            buf.set_filled(before + sound);
        }
    }
}

impl<T: AsyncWrite + Unpin> ObservedStream<T> {
    fn wrote<R>(&self, wrote: Poll<R>) -> Poll<R> {
        self.activity.wrote(wrote.is_pending());
        if wrote.is_ready() {
            self.activity.sent();
        }
        wrote
    }

    /// Before what hyper writes.
    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let told = self.activity.poll_outbox(Pin::new(&mut self.stream), cx);
        if told.is_pending() {
            self.activity.wrote(true);
        }
        told
    }
}

impl<T: RelayStream> AsyncRead for ObservedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.ahead.has_remaining() {
            let length = self.ahead.len().min(buf.remaining());
            let ahead = self.ahead.split_to(length);
            buf.put_slice(&ahead);
        } else if !self.is_spoilt {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                return if self.activity.holds_end(self.stream.carrier(), cx) {
                    Poll::Pending
                } else {
                    Poll::Ready(Ok(()))
                };
            }
        }
        self.saw(buf, before);
        if self.is_spoilt && buf.filled().len() == before {
            let error = io::Error::new(io::ErrorKind::InvalidData, "a malformed body");
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ObservedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.activity.withholds() {
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.poll_outbox(cx))?;
        self.activity.set_between(false);
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.activity.withholds() {
            return Poll::Ready(Ok(bufs.iter().map(|piece| piece.len()).sum()));
        }
        ready!(self.poll_outbox(cx))?;
        self.activity.set_between(false);
        let wrote = coalesce::poll_write(Pin::new(&mut self.stream), cx, bufs);
        self.wrote(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper calls this when it has nothing left.
        self.activity.set_between(true);
        ready!(self.poll_outbox(cx))?;
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.activity.wrote(flushed.is_pending());
        if flushed.is_ready() {
            self.activity.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.has_withheld() {
            // The answer is still to be given.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
