//! Whether a peer that has ended its side is still there.

use std::{
    future::Future,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{io::Interest, net::TcpStream};

use super::descriptors;

/// Hears of a reset behind the end of what a peer sends. Reading finds that end again and again,
/// and writing finds the reset only where there is something to write.
pub(crate) struct ResetWatch(Pin<Box<dyn Future<Output = ()>>>);

impl ResetWatch {
    /// It has a descriptor of its own, for only one task at a time hears of the stream's. `None`:
    /// there is none left.
    pub(crate) fn new(stream: &TcpStream) -> Option<Self> {
        let copy = stream.as_fd().try_clone_to_owned().ok()?;
        if !descriptors::is_below_ceiling(&copy) {
            return None;
        }
        let copy = TcpStream::from_std(copy.into()).ok()?;
        Some(Self(Box::pin(async move {
            // Fails only where the runtime ends, and the connection with it.
            let _ = copy.ready(Interest::ERROR).await;
        })))
    }

    /// Ready once it has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
