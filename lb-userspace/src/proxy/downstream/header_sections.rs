//! What the header sections of an HTTP/2 connection's requests may take of our memory, all
//! together.
//!
//! h2 reads all that there is before hyper asks for a request, and bounds a section by bytes, where
//! a field of one byte takes a hundred of ours (sozu-proxy/sozu#1272, h2o/h2o#3597,
//! php/frankenphp#2459). So the client's frames are looked at on their way to it: it gets no more
//! than a few sections at a time, and none of too many fields.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::{
    HeaderMap, Request,
    body::{Buf, Bytes},
    header::{self, HeaderValue},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::http::{fault::Fault, field_count::FieldCount};

/// Fields of a request, as of HTTP/1, without the parts of a cookie.
const FIELDS: usize = 100;
/// With them. A request of more, or more than `FIELDS` behind a body, ends the connection.
const MOST: usize = 1000;
/// What a field takes beside its name and value: in a table, and in the copy for another try.
const EACH: usize = 200;
/// Fields, and bytes of header sections, after which hyper is to see the requests that there are.
const FIELDS_AHEAD: usize = 2 * MOST;
const BYTES_AHEAD: usize = 64 * 1024;

/// What the requests of one connection have taken, that are not yet answered.
pub(crate) struct Sections {
    taken: Cell<usize>,
    most: usize,
}

/// A request's share, until it is answered.
pub(crate) struct Share {
    of: Rc<Sections>,
    weight: usize,
}

impl Sections {
    /// Where a header section has `max_header_size`, all together have 64 times as much.
    pub(crate) fn new(max_header_size: usize) -> Rc<Self> {
        Rc::new(Self { taken: Cell::new(0), most: 64 * max_header_size })
    }

    /// Room for `request`. One that has none is left without its fields.
    pub(crate) fn enter<B>(self: &Rc<Self>, request: &mut Request<B>) -> Result<Share, Fault> {
        let headers = request.headers_mut();
        if headers.len() > FIELDS {
            join_cookies(headers);
        }
        let bytes: usize =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let weight = bytes + headers.len() * EACH;
        let taken = self.taken.get() + weight;
        if headers.len() > FIELDS || taken > self.most {
            *headers = HeaderMap::new();
            return Err(Fault::HeaderTooLarge);
        }
        self.taken.set(taken);
        Ok(Share { of: self.clone(), weight })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.taken.set(self.of.taken.get() - self.weight);
    }
}

/// The same fields in a table that is as large as it needs to be, a cookie in one of them (RFC 9113
/// 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<_> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let cookie = (!cookies.is_empty()).then(|| Bytes::from(cookies.join(&b"; "[..])));
    let others = headers.iter().filter(|(name, _)| *name != header::COOKIE);
    let mut joined: HeaderMap = others.map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(cookie) = cookie {
        let cookie = HeaderValue::from_maybe_shared(cookie).expect("made of header values");
        joined.insert(header::COOKIE, cookie);
    }
    *headers = joined;
}

/// A client's stream that is looked at on its way to hyper.
pub(crate) struct Sectioned<T> {
    stream: T,
    frames: Frames,
    /// Read, and kept until hyper has seen the requests before it.
    ahead: Bytes,
}

impl<T> Sectioned<T> {
    pub(crate) fn new(stream: T) -> Self {
        Self { stream, frames: Frames::default(), ahead: Bytes::new() }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Sectioned<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.frames.is_enough() {
            // hyper answers what it has when it finds no more, and comes back.
            this.frames.go_on();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.ahead.has_remaining() {
            let length = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead.split_to(length));
        } else {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        }
        let read = &buf.filled()[before..];
        let seen = this.frames.look(read)?;
        if seen < read.len() {
            let rest = Bytes::copy_from_slice(&read[seen..]);
            this.ahead = if this.ahead.is_empty() {
                rest
            } else {
                [rest, this.ahead.clone()].concat().into()
            };
            buf.set_filled(before + seen);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Sectioned<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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

const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// Goes from frame to frame. What h2 refuses it need not understand.
struct Frames {
    /// Bytes to go past before anything is looked at.
    skipped: usize,
    head: [u8; HEAD],
    /// Bytes of `head` that have come.
    come: usize,
    /// Of the current frame: bytes of a header section, and bytes behind them.
    section: usize,
    behind: usize,
    /// How much padding there is stands before the section.
    is_padded: bool,
    latest: u32,
    count: FieldCount,
    /// Fields that the current section may have.
    most: usize,
    fields_ahead: usize,
    bytes_ahead: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skipped: PREFACE,
            head: [0; HEAD],
            come: 0,
            section: 0,
            behind: 0,
            is_padded: false,
            latest: 0,
            count: FieldCount::default(),
            most: MOST,
            fields_ahead: 0,
            bytes_ahead: 0,
        }
    }
}

impl Frames {
    fn is_enough(&self) -> bool {
        self.section == 0 && (self.fields_ahead >= FIELDS_AHEAD || self.bytes_ahead >= BYTES_AHEAD)
    }

    fn go_on(&mut self) {
        (self.fields_ahead, self.bytes_ahead) = (0, 0);
    }

    /// How many of `bytes` hyper may have for now.
    fn look(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut left = bytes;
        while !left.is_empty() && !self.is_enough() {
            let taken = if self.skipped > 0 {
                let taken = self.skipped.min(left.len());
                self.skipped -= taken;
                taken
            } else if self.section > 0 {
                self.look_at_section(left)?
            } else if self.behind > 0 {
                std::mem::swap(&mut self.skipped, &mut self.behind);
                0
            } else {
                let taken = (HEAD - self.come).min(left.len());
                self.head[self.come..self.come + taken].copy_from_slice(&left[..taken]);
                self.come += taken;
                if self.come == HEAD {
                    self.come = 0;
                    self.begin();
                }
                taken
            };
            left = &left[taken..];
        }
        Ok(bytes.len() - left.len())
    }

    /// A frame's head is complete.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        if kind != HEADERS && kind != CONTINUATION {
            self.skipped = length;
            return;
        }
        self.section = length;
        if kind == HEADERS {
            self.count = FieldCount::default();
            // What comes on a stream that has begun stands behind a body.
            self.most = if stream > self.latest { MOST } else { FIELDS };
            self.latest = self.latest.max(stream);
            self.is_padded = flags & PADDED != 0;
            if flags & PRIORITY != 0 && !self.is_padded {
                self.skipped = 5.min(length);
                self.section = length - self.skipped;
            }
        }
    }

    fn look_at_section(&mut self, left: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.is_padded) {
            let padding = usize::from(left[0]);
            self.skipped = if self.head[4] & PRIORITY != 0 { 5.min(self.section - 1) } else { 0 };
            self.section -= 1 + self.skipped;
            self.behind = padding.min(self.section);
            self.section -= self.behind;
            return Ok(1);
        }
        let taken = self.section.min(left.len());
        let before = self.count.fields();
        self.count.look(&left[..taken]);
        self.fields_ahead += self.count.fields() - before;
        self.bytes_ahead += taken;
        self.section -= taken;
        if self.count.fields() > self.most {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a header section of too many fields",
            ));
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = &(payload.len() as u32).to_be_bytes()[1..];
        [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// What is read of `sent` up to the first pause, or `None` where the connection ends.
    fn read(sent: &[u8], size: usize) -> Option<usize> {
        let mut frames = Frames::default();
        let mut seen = 0;
        for part in sent.chunks(size) {
            let now = frames.look(part).ok()?;
            seen += now;
            if now < part.len() {
                break;
            }
        }
        Some(seen)
    }

    #[test]
    fn sections_are_seen_through_padding_priority_and_continuation() {
        let many = |count| vec![0x82; count];
        let padded = |count| [&[3][..], &many(count), &[0; 3]].concat();
        let with_priority = |count| [&[0; 5][..], &many(count)].concat();
        let both = |count| [&[3][..], &[0; 5], &many(count), &[0; 3]].concat();
        type Make<'m> = &'m dyn Fn(usize) -> Vec<u8>;
        let kinds: [(u8, Make<'_>); 4] =
            [(0, &many), (PADDED, &padded), (PRIORITY, &with_priority), (PADDED | PRIORITY, &both)];
        let preface = vec![0x82; PREFACE];
        for (flags, payload) in kinds {
            for (first, second, stream, ends) in [
                (500, 500, 1, false),
                (500, 501, 1, true),
                (1001, 0, 1, true),
                // Behind a body.
                (50, 50, 0, false),
                (50, 51, 0, true),
            ] {
                let sent = [
                    preface.clone(),
                    frame(4, 0, 0, &[0x82; 6]),
                    frame(0, 0, 1, &[0x82; 5000]),
                    frame(HEADERS, flags, stream, &payload(first)),
                    frame(CONTINUATION, 4, stream, &many(second)),
                    frame(HEADERS, 4, 3, &many(1)),
                ]
                .concat();
                for size in [1, 7, 1000, sent.len()] {
                    let expected = (!ends).then_some(sent.len());
                    assert_eq!(read(&sent, size), expected, "{flags} {first} {second} {stream}");
                }
            }
        }
    }

    #[test]
    fn hyper_sees_some_sections_before_the_next_are_read() {
        let section = |stream| frame(HEADERS, 5, stream, &[0x82; 900]);
        let sent = [vec![0; PREFACE], section(1), section(3), section(5), section(7)].concat();
        for size in [1, 100, sent.len()] {
            let up_to_third = PREFACE + 3 * (HEAD + 900);
            assert_eq!(read(&sent, size), Some(up_to_third), "in parts of {size}");
        }
    }
}
