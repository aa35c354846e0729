//! The end of a connection whose client may still be sending.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// For a client that is still sending when it has had its last answer.
const LINGER: Duration = Duration::from_secs(2);

/// Takes what the client is still sending after our last answer. Closing at once would reset the
/// connection, and the client could lose that answer (RFC 9112 9.6).
pub(crate) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    // On the heap: an array would be part of every connection's task.
    let mut scrap = vec![0; 16 * 1024];
    let rest = async {
        let _ = stream.shutdown().await;
        while matches!(stream.read(&mut scrap).await, Ok(1..)) {}
    };
    let _ = timeout(LINGER, rest).await;
}
