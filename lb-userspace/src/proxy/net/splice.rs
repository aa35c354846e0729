//! Bytes from socket to socket without passing through us (splice(2)): through a pipe, which the
//! kernel fills with pages of the one and sends from there to the other.

use std::{
    cell::RefCell,
    io,
    os::fd::OwnedFd,
    task::{Context, Poll, ready},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    unistd::pipe2,
};
use tokio::{io::Interest, net::TcpStream};

use super::descriptors::is_below_ceiling;

/// What a pipe is asked to hold. A user's default limit is as much; where it is less, it is less.
const CAPACITY: usize = 1 << 20;
/// Empty pipes that a worker keeps for the next.
const SPARE: usize = 16;
/// Bytes after which others have their turn.
const TURN: u64 = 4 << 20;
/// Less than this at once is not worth a pipe.
const WORTH: usize = 16 * 1024;

thread_local! {
    static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Bytes in it.
    filled: usize,
}

impl Pipe {
    fn take() -> io::Result<Self> {
        if let Some(pipe) = PIPES.with_borrow_mut(Vec::pop) {
            return Ok(pipe);
        }
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        if ![&read, &write].into_iter().all(is_below_ceiling) {
            return Err(Errno::EMFILE.into());
        }
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(CAPACITY as i32));
        Ok(Self { read, write, filled: 0 })
    }

    /// Keeps it for another, if it is empty.
    fn put_back(self) {
        PIPES.with_borrow_mut(|pipes| {
            if self.filled == 0 && pipes.len() < SPARE {
                pipes.push(self);
            }
        });
    }
}

/// One way between two sockets. It holds a pipe only while there is something to move.
#[derive(Default)]
pub(crate) struct Splice {
    pipe: Option<Pipe>,
}

/// Why a [`Splice`] came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// `from` has ended.
    End,
    /// So little comes at a time that copying costs less, or no pipe is to be had.
    Trickle,
}

impl Splice {
    /// Adds to `moved` what it takes from the one side. Nothing is held back when it is ready.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        moved: &mut u64,
    ) -> Poll<io::Result<Rest>> {
        let polled = self.poll_moved(cx, from, to, moved);
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.filled == 0) {
            pipe.put_back();
        }
        polled
    }

    fn poll_moved(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        moved: &mut u64,
    ) -> Poll<io::Result<Rest>> {
        let turn = *moved + TURN;
        if self.pipe.is_none() {
            // Copying needs none.
            let Ok(pipe) = Pipe::take() else { return Poll::Ready(Ok(Rest::Trickle)) };
            self.pipe = Some(pipe);
        }
        loop {
            ready!(self.poll_drain(cx, to))?;
            if *moved >= turn {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let filled = ready!(self.poll_fill(cx, from))?;
            if filled == 0 {
                return Poll::Ready(Ok(Rest::End));
            }
            *moved += filled as u64;
            if filled < WORTH {
                ready!(self.poll_drain(cx, to))?;
                return Poll::Ready(Ok(Rest::Trickle));
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &TcpStream) -> Poll<io::Result<usize>> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(0));
        };
        loop {
            let fill = || moved(splice(from, None, &pipe.write, None, CAPACITY, flags()));
            match from.try_io(Interest::READABLE, fill) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(from.poll_read_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
                Ok(filled) => {
                    pipe.filled = filled;
                    return Poll::Ready(Ok(filled));
                }
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<()>> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(()));
        };
        while pipe.filled > 0 {
            let drain = || moved(splice(&pipe.read, None, to, None, pipe.filled, flags()));
            match to.try_io(Interest::WRITABLE, drain) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(to.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(drained) => pipe.filled -= drained,
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE
}

fn moved(result: Result<usize, Errno>) -> io::Result<usize> {
    result.map_err(io::Error::from)
}
