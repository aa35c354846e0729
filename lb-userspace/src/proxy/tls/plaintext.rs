//! HTTP where TLS is expected: told so, in words that its client understands.

use std::io;

use hyper::Version;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::proxy::{
    http::{
        fault::{self, Fault},
        headers::HeaderNames,
        preface,
    },
    net::linger::linger,
};

/// Of a request's beginning that is read to know it.
const LONGEST: usize = 16 * 1024;

/// The server's side of HTTP/2 as far as it goes: SETTINGS without any, and GOAWAY for
/// INADEQUATE_SECURITY with a reason for people (RFC 9113 6.5, 6.8, 7).
const REASON: &[u8] = b"this port speaks TLS";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const GOAWAY: [u8; 17] = [0, 0, 8 + REASON.len() as u8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12];

/// Whether a client that begins so speaks no TLS, but a word such as a request begins with.
pub(crate) fn is_begun(first: &[u8]) -> bool {
    first.first().is_some_and(u8::is_ascii_uppercase)
}

/// Answers a request, of which `begun` was read already, and ends the connection. What is no
/// request after all gets no answer.
pub(crate) async fn refuse(
    mut stream: TcpStream,
    begun: Vec<u8>,
    names: &HeaderNames,
) -> io::Result<()> {
    let answer = match read(&mut stream, begun).await? {
        Spoken::Http1 => fault::to_bytes(Fault::PlainHttp.answer(names, Version::HTTP_11)),
        Spoken::Http2 => [&SETTINGS[..], &GOAWAY, REASON].concat(),
        Spoken::Other => return Ok(()),
    };
    stream.write_all(&answer).await?;
    linger(stream).await;
    Ok(())
}

enum Spoken {
    Http1,
    Http2,
    Other,
}

/// A request's header section, so that closing does not reset the answer away.
async fn read(stream: &mut TcpStream, mut read: Vec<u8>) -> io::Result<Spoken> {
    let mut is_over = false;
    loop {
        match classify(&read, is_over) {
            Some(spoken) => return Ok(spoken),
            None => is_over = stream.read_buf(&mut read).await? == 0,
        }
    }
}

/// What a client speaks that began with `read`. `None`: there is to be more of it.
fn classify(read: &[u8], is_over: bool) -> Option<Spoken> {
    match preface::classify(read) {
        Some(true) => return Some(Spoken::Http2),
        None if !is_over => return None,
        _ => {}
    }
    let is_enough = is_over || read.len() > LONGEST;
    let line = read.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if line.len() == read.len() {
        // The request line is not whole yet.
        is_enough.then_some(Spoken::Other)
    } else if !is_request_line(line) {
        Some(Spoken::Other)
    } else {
        (is_enough || is_whole(read)).then_some(Spoken::Http1)
    }
}

fn is_request_line(line: &[u8]) -> bool {
    let version = line.trim_ascii_end().rsplit(|&byte| byte == b' ').next();
    version.is_some_and(|version| version.starts_with(b"HTTP/"))
}

fn is_whole(read: &[u8]) -> bool {
    [&b"\r\n\r\n"[..], b"\n\n"].iter().any(|end| read.windows(end.len()).any(|it| it == *end))
}
