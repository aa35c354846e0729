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

/// Whether the client's first byte is none of TLS, but of a word such as a request begins with.
pub(crate) async fn speaks(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase())
}

/// Answers a request, and ends the connection. What is no request after all gets no answer.
pub(crate) async fn refuse(mut stream: TcpStream, names: &HeaderNames) -> io::Result<()> {
    let answer = match read(&mut stream).await? {
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
async fn read(stream: &mut TcpStream) -> io::Result<Spoken> {
    let mut read = Vec::with_capacity(1024);
    loop {
        let is_over = stream.read_buf(&mut read).await? == 0;
        match preface::classify(&read) {
            Some(true) => return Ok(Spoken::Http2),
            None if !is_over => continue,
            _ => {}
        }
        let line = read.split(|&byte| byte == b'\n').next().unwrap_or_default();
        if line.len() == read.len() {
            // The request line is not whole yet.
            if is_over || read.len() > LONGEST {
                return Ok(Spoken::Other);
            }
        } else if !is_request_line(line) {
            return Ok(Spoken::Other);
        } else if is_over || read.len() > LONGEST || is_whole(&read) {
            return Ok(Spoken::Http1);
        }
    }
}

fn is_request_line(line: &[u8]) -> bool {
    let version = line.trim_ascii_end().rsplit(|&byte| byte == b' ').next();
    version.is_some_and(|version| version.starts_with(b"HTTP/"))
}

fn is_whole(read: &[u8]) -> bool {
    [&b"\r\n\r\n"[..], b"\n\n"].iter().any(|end| read.windows(end.len()).any(|it| it == *end))
}
