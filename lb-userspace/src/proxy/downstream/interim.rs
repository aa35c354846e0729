//! What a backend says before its response (RFC 9110 15.2): whether it wants the request's body,
//! and what the client is to hear already.
//!
//! hyper tells of interim responses of HTTP/1.1 backends and sends none but `100`. The others are
//! put between its own writes on an HTTP/1.1 client's connection (`activity`). Streams of HTTP/2
//! and backends by HTTP/2 have no such place.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use hyper::{HeaderMap, Request, StatusCode, ext::on_informational, header};
use tokio::{io::AsyncWrite, time::Instant};

use crate::proxy::{
    http::{fields, headers},
    net::timer::LazyTimer,
};

/// A backend that has not said `100` within is taken for one that never does: it waits for the
/// body.
const SILENCE: Duration = Duration::from_secs(1);
/// Kept for a client that takes nothing, in bytes. More is not passed on.
const MOST: usize = 64 * 1024;

/// Interim responses that the client of a connection has not had.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Mutex<Vec<u8>>,
    is_filled: AtomicBool,
}

impl Outbox {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all that there is to be had.
    pub(crate) fn poll_empty<W: AsyncWrite>(
        &self,
        mut to: Pin<&mut W>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_filled.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = self.bytes();
        while !bytes.is_empty() {
            match ready!(to.as_mut().poll_write(cx, &bytes))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(bytes.drain(..written)),
            }
        }
        self.is_filled.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    /// It is too late for what there is.
    pub(crate) fn clear(&self) {
        if self.is_filled.swap(false, Ordering::Relaxed) {
            self.bytes().clear();
        }
    }

    fn put(&self, status: StatusCode, mut headers: HeaderMap) {
        if fields::towards_client(&mut headers, false).is_err() {
            return;
        }
        headers.remove(header::CONTENT_LENGTH);
        let mut bytes = self.bytes();
        if bytes.len() < MOST {
            bytes.extend_from_slice(format!("HTTP/1.1 {status}\r\n").as_bytes());
            headers::write(&headers, &mut bytes);
            bytes.extend_from_slice(b"\r\n");
            self.is_filled.store(true, Ordering::Relaxed);
        }
    }
}

/// Has what `request`'s backend says first heard: by its body, if that waits for it, and by the
/// client.
pub(crate) fn listen<B>(
    request: &mut Request<B>,
    word: Option<Arc<ContinueSignal>>,
    outbox: Option<Arc<Outbox>>,
) {
    if word.is_none() && outbox.is_none() {
        return;
    }
    on_informational(request, move |response| {
        // hyper says it to the client itself, when the body is asked for.
        if response.status() == StatusCode::CONTINUE {
            word.as_ref().inspect(|word| word.give());
        } else if let Some(outbox) = &outbox {
            outbox.put(response.status(), response.headers().clone());
        }
    });
}

/// That the backend wants the body.
#[derive(Default)]
pub(crate) struct ContinueSignal {
    is_given: AtomicBool,
    awaited: AtomicWaker,
}

impl ContinueSignal {
    fn give(&self) {
        self.is_given.store(true, Ordering::Release);
        self.awaited.wake();
    }
}

/// What a body waits for whose client asks first (`Expect: 100-continue`, RFC 9110 10.1.1).
#[derive(Default)]
pub(crate) struct ContinueWait {
    word: Arc<ContinueSignal>,
    until: Option<Instant>,
    timer: LazyTimer,
}

impl ContinueWait {
    pub(crate) fn word(&self) -> Arc<ContinueSignal> {
        self.word.clone()
    }

    /// Ready when the body is wanted. Time runs from the first call: the header is on its way.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.word.awaited.register(cx.waker());
        if self.word.is_given.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + SILENCE);
        self.timer.poll(cx, until)
    }
}
