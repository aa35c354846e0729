//! A response body without end: one JSON object per line.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc;

use super::explain::TraceLine;

/// Ends when its sender is dropped. It is dropped when the client leaves, which the sender can see.
pub(super) struct JsonLines(mpsc::Receiver<TraceLine>);

impl JsonLines {
    pub(super) const fn new(lines: mpsc::Receiver<TraceLine>) -> Self {
        Self(lines)
    }
}

impl Body for JsonLines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = ready!(self.0.poll_recv(context));
        Poll::Ready(line.map(|line| {
            let mut text = serde_json::to_vec(&line).expect("strings and numbers are JSON");
            text.push(b'\n');
            Ok(Frame::data(text.into()))
        }))
    }
}
