//! The first message of a TLS client, or what came in its place.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use rustls::server::{Accepted, Acceptor};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::StartHandshake;

use super::plaintext;

#[expect(clippy::large_enum_variant, reason = "it is taken apart at once, and TLS nearly always")]
pub(crate) enum Hello {
    Tls(StartHandshake<TcpStream>),
    /// No TLS, and what has come so far.
    Plain(TcpStream, Vec<u8>),
}

/// Reads a `ClientHello`. What the first read brings tells whether it is one, so that to know costs
/// no system call. A client that breaks the rules gets an alert.
pub(crate) async fn read(mut stream: TcpStream) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    let mut first = First::default();
    let accepted = poll_fn(|cx| poll(&mut acceptor, &mut first, &mut stream, cx)).await;
    if let First::Plain(begun) = first {
        return Ok(Hello::Plain(stream, begun));
    }
    match accepted {
        Ok(accepted) => Ok(Hello::Tls(StartHandshake::from_parts(accepted, stream))),
        Err((error, alert)) => {
            // A courtesy.
            let _ = stream.write_all(&alert).await;
            Err(error)
        }
    }
}

/// What the first read brought.
#[derive(Default)]
enum First {
    #[default]
    Awaited,
    Tls,
    Plain(Vec<u8>),
}

/// An error comes with the alert that tells the client.
fn poll(
    acceptor: &mut Acceptor,
    first: &mut First,
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
) -> Poll<Result<Accepted, (io::Error, Vec<u8>)>> {
    loop {
        match acceptor.read_tls(&mut Reader { stream, first, cx }) {
            Ok(0) => return failed(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if matches!(first, First::Plain(_)) => {
                return failed(io::ErrorKind::InvalidData.into());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return failed(error),
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Poll::Ready(Ok(accepted)),
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                let _ = alert.write_all(&mut bytes);
                let error = io::Error::new(io::ErrorKind::InvalidData, error);
                return Poll::Ready(Err((error, bytes)));
            }
        }
    }
}

fn failed(error: io::Error) -> Poll<Result<Accepted, (io::Error, Vec<u8>)>> {
    Poll::Ready(Err((error, Vec::new())))
}

/// The stream as rustls reads from it.
struct Reader<'r, 'c> {
    stream: &'r mut TcpStream,
    first: &'r mut First,
    cx: &'r mut Context<'c>,
}

impl io::Read for Reader<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        let polled = Pin::new(&mut *self.stream).poll_read(self.cx, &mut buf);
        let Poll::Ready(polled) = polled else { return Err(io::ErrorKind::WouldBlock.into()) };
        polled?;
        let read = buf.filled();
        if matches!(self.first, First::Awaited) {
            let is_plain = plaintext::is_begun(read);
            *self.first = if is_plain { First::Plain(read.to_vec()) } else { First::Tls };
        }
        Ok(read.len())
    }
}
