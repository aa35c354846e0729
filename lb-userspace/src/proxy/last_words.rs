//! What a client is told last, and the end of its connection.

use std::time::Duration;

use hyper::Version;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{
    answer::{self, Fault},
    http::Client,
};

/// For a client that is still sending when it has had its last answer.
const LINGER: Duration = Duration::from_secs(2);

/// Answers what never became a request, and ends the connection.
pub(super) async fn say_last<S>(client: &Client, fault: Fault, mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = answer::to_bytes(client.refuse(fault, Version::HTTP_11));
    let within = client.worker.settings.idle_timeout;
    if let Ok(Ok(())) = timeout(within, stream.write_all(&answer)).await {
        linger(stream).await;
    }
}

/// Takes what the client is still sending after our last answer. Closing at once would reset the
/// connection, and the client could lose that answer (RFC 9112 9.6).
pub(super) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    // On the heap: an array would be part of every connection's task.
    let mut scrap = vec![0; 16 * 1024];
    let rest = async {
        let _ = stream.shutdown().await;
        while matches!(stream.read(&mut scrap).await, Ok(1..)) {}
    };
    let _ = timeout(LINGER, rest).await;
}
