//! Bytes both ways, untouched, until both sides have ended.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::body::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::alarm::Alarm;

/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;

thread_local! {
    /// Shared by all relays of a worker: what one poll reads, it also hands on, so that an idle
    /// relay holds no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// Relays between `client` and `backend`. One side's end is passed on while the other goes on
/// sending. The bytes given with a side were read from it already.
///
/// # Errors
/// The first error of either side; `TimedOut` after `idle` without a byte either way.
pub(super) async fn relay<C, B>(
    client: (C, Bytes),
    backend: (B, Bytes),
    idle: Duration,
) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let mut to_backend = Direction::new(client.1);
    let mut to_client = Direction::new(backend.1);
    let (mut client, mut backend) = (pin!(client.0), pin!(backend.0));
    let mut alarm = Alarm::default();
    let mut moved = Instant::now();
    poll_fn(|cx| {
        let before = (to_backend.bytes, to_client.bytes);
        let up = to_backend.poll(cx, client.as_mut(), backend.as_mut())?;
        let down = to_client.poll(cx, backend.as_mut(), client.as_mut())?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if before != (to_backend.bytes, to_client.bytes) {
            moved = Instant::now();
        }
        ready!(alarm.poll(cx, moved + idle));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    })
    .await
}

/// One way of a relay.
struct Direction {
    stage: Stage,
    /// Read and not yet written.
    pending: Bytes,
    needs_flush: bool,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Moving,
    Ending,
    Ended,
}

impl Direction {
    fn new(pending: Bytes) -> Self {
        Self { stage: Stage::Moving, pending, needs_flush: false, bytes: 0 }
    }

    /// Ready when `from` has ended and `to` knows.
    fn poll<R: AsyncRead, W: AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Pin<&mut R>,
        mut to: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.pending.has_remaining() {
                let written = ready!(to.as_mut().poll_write(cx, &self.pending))?;
                self.wrote(written)?;
                self.pending.advance(written);
            }
            match self.stage {
                Stage::Moving => match self.poll_move(cx, from.as_mut(), to.as_mut())? {
                    Poll::Ready(()) => {}
                    Poll::Pending => return self.poll_flush(cx, to),
                },
                Stage::Ending => {
                    ready!(to.as_mut().poll_shutdown(cx))?;
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// One read, and the write of what it brought.
    fn poll_move<R: AsyncRead, W: AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        from: Pin<&mut R>,
        mut to: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(from.poll_read(cx, &mut buffer))?;
            let mut rest = buffer.filled();
            if rest.is_empty() {
                self.stage = Stage::Ending;
                return Poll::Ready(Ok(()));
            }
            while !rest.is_empty() {
                match to.as_mut().poll_write(cx, rest)? {
                    Poll::Ready(written) => {
                        self.wrote(written)?;
                        rest = &rest[written..];
                    }
                    Poll::Pending => {
                        self.pending = Bytes::copy_from_slice(rest);
                        return Poll::Pending;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    fn wrote(&mut self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes += written as u64;
        self.needs_flush = true;
        Ok(())
    }

    /// TLS keeps written records back until it is flushed. Never ready: the source decides that.
    fn poll_flush<W: AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        if self.needs_flush && to.poll_flush(cx)?.is_ready() {
            self.needs_flush = false;
        }
        Poll::Pending
    }
}
