//! Tells HTTP/2 from HTTP/1 by the first bytes of a connection.

use std::io;

use hyper::body::Bytes;
use tokio::{io::AsyncReadExt, net::TcpStream};

/// RFC 9113 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for the whole header section of most requests.
const FIRST_READ: usize = 2048;

/// Whether the client speaks HTTP/2, and what was read to find out.
pub(crate) async fn sniff(stream: &mut TcpStream) -> io::Result<(bool, Bytes)> {
    // A silent client holds no buffer.
    stream.readable().await?;
    let mut read = Vec::with_capacity(FIRST_READ);
    loop {
        if let Some(is_http2) = classify(&read) {
            return Ok((is_http2, read.into()));
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok((false, read.into()));
        }
    }
}

/// Whether a connection that begins with `read` is HTTP/2. `None`: more is needed to tell.
pub(crate) fn classify(read: &[u8]) -> Option<bool> {
    let length = read.len().min(PREFACE.len());
    if read[..length] != PREFACE[..length] {
        return Some(false);
    }
    (length == PREFACE.len()).then_some(true)
}
