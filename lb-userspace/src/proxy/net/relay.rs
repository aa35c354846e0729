//! Bytes both ways, untouched, until both sides have ended.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{
    body::{Buf, Bytes},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    select,
    time::Instant,
};

use super::{
    reset_watch::ResetWatch,
    splice::{Rest, Splice},
    timer::LazyTimer,
};

/// Bytes copied at a time.
const CHUNK: usize = 64 * 1024;

thread_local! {
    /// Shared by all relays of a worker: what one poll reads, it also hands on, so that an idle
    /// relay holds no buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// An end of a relay.
pub(crate) trait RelayStream: AsyncRead + AsyncWrite + Unpin {
    /// The socket, where the bytes in it are those to be relayed.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }

    /// The socket below it.
    fn carrier(&self) -> Option<&TcpStream> {
        self.socket()
    }
}

impl RelayStream for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// A stream of an HTTP/2 connection.
impl RelayStream for TokioIo<Upgraded> {}

/// How long a relay may be silent. Without limits it lasts as long as both sides are there, which
/// TCP keep-alive asks them: whoever waits for an answer has nothing to say meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct RelayTimeouts {
    pub idle: Option<Duration>,
    /// Once one side has ended.
    pub termination: Option<Duration>,
}

impl RelayTimeouts {
    fn allowed(self, is_half_closed: bool) -> Option<Duration> {
        let termination = self.termination.filter(|_| is_half_closed);
        self.idle.into_iter().chain(termination).min()
    }
}

/// Relays between `client` and `backend`. One side's end is passed on while the other goes on
/// sending; where one side breaks off, both connections are reset, because an orderly end would say
/// that what came is all. The bytes given with a side were read from it already.
///
/// # Errors
/// The first error of either side; `TimedOut` after too long a silence; `ConnectionAborted` once
/// `end` has come.
pub(crate) async fn relay<C: RelayStream, B: RelayStream>(
    client: (C, Bytes),
    backend: (B, Bytes),
    timeouts: RelayTimeouts,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let (mut client, mut to_backend) = (client.0, Direction::new(client.1));
    let (mut backend, mut to_client) = (backend.0, Direction::new(backend.1));
    let (up, down) = (&mut to_backend, &mut to_client);
    let moved = select! {
        biased;
        moved = move_both(&mut client, &mut backend, up, down, timeouts) => moved,
        () = end => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server was expelled")),
    };
    if moved.is_err() {
        // Who was told of an orderly end has all, or will have it: a reset would take it back.
        if to_client.stage != Stage::Ended {
            reset(&client);
        }
        if to_backend.stage != Stage::Ended {
            reset(&backend);
        }
    }
    moved
}

/// Has the connection reset when it is dropped.
pub(crate) fn reset<S: RelayStream>(side: &S) {
    if let Some(carrier) = side.carrier() {
        // Without it the end is orderly.
        let _ = SockRef::from(carrier).set_linger(Some(Duration::ZERO));
    }
}

async fn move_both<C: RelayStream, B: RelayStream>(
    client: &mut C,
    backend: &mut B,
    to_backend: &mut Direction,
    to_client: &mut Direction,
    timeouts: RelayTimeouts,
) -> io::Result<()> {
    let mut timer = LazyTimer::default();
    let mut moved = Instant::now();
    let mut reset_watch: Option<Option<ResetWatch>> = None;
    poll_fn(|cx| {
        let before = (to_backend.state(), to_client.state());
        let up = to_backend.poll(cx, client, backend)?;
        let down = to_client.poll(cx, backend, client)?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if up.is_ready() {
            // It awaits the rest of the answer, or is gone.
            let watch = reset_watch
                .get_or_insert_with(|| client.carrier().and_then(ResetWatch::new))
                .as_mut();
            if watch.is_some_and(|watch| watch.poll(cx).is_ready()) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        if before != (to_backend.state(), to_client.state()) {
            moved = Instant::now();
        }
        let Some(allowed) = timeouts.allowed(up.is_ready() || down.is_ready()) else {
            return Poll::Pending;
        };
        ready!(timer.poll(cx, moved + allowed));
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
    splice: Splice,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Moving,
    /// So much comes at a time that it is spliced, if it can be.
    Streaming,
    Ending,
    Ended,
}

impl Direction {
    fn new(pending: Bytes) -> Self {
        let (stage, splice) = (Stage::Moving, Splice::default());
        Self { stage, pending, needs_flush: false, bytes: 0, splice }
    }

    /// What changes when something happens.
    fn state(&self) -> (Stage, u64) {
        (self.stage, self.bytes)
    }

    /// Ready when `from` has ended and `to` knows.
    fn poll<R: RelayStream, W: RelayStream>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.pending.has_remaining() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
                self.wrote(written)?;
                self.pending.advance(written);
            }
            match self.stage {
                Stage::Moving => match self.poll_move(cx, from, to)? {
                    Poll::Ready(()) => {}
                    Poll::Pending => return self.poll_flush(cx, to),
                },
                Stage::Streaming => ready!(self.poll_splice(cx, from, to))?,
                Stage::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// One read, and the write of what it brought.
    fn poll_move<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let mut rest = buffer.filled();
            match rest.len() {
                0 => self.stage = Stage::Ending,
                CHUNK => self.stage = Stage::Streaming,
                _ => {}
            }
            while !rest.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, rest)? {
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

    /// Bytes that we need not see.
    fn poll_splice<R: RelayStream, W: RelayStream>(
        &mut self,
        cx: &mut Context<'_>,
        from: &R,
        to: &W,
    ) -> Poll<io::Result<()>> {
        let (Some(from), Some(to)) = (from.socket(), to.socket()) else {
            self.stage = Stage::Moving;
            return Poll::Ready(Ok(()));
        };
        self.stage = match ready!(self.splice.poll(cx, from, to, &mut self.bytes))? {
            Rest::End => Stage::Ending,
            Rest::Trickle => Stage::Moving,
        };
        Poll::Ready(Ok(()))
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
    fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        if self.needs_flush && Pin::new(to).poll_flush(cx)?.is_ready() {
            self.needs_flush = false;
        }
        Poll::Pending
    }
}
