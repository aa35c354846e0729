//! A response's body on its way to the client, frame by frame and unboxed.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::lease::Lease;
use crate::proxy::{downstream::activity::ActiveRequest, http::fields};

/// A response's body on its way to the client.
pub(crate) struct ResponseBody {
    source: Source,
    /// The client's request is being answered until this is dropped.
    active: ActiveRequest,
}

enum Source {
    Own(Bytes),
    Backend(Incoming, Option<Lease>),
    /// It broke off, and the client is yet to be told.
    Broken(Option<hyper::Error>),
}

impl ResponseBody {
    pub(crate) fn own(text: Bytes, active: ActiveRequest) -> Self {
        Self { source: Source::Own(text), active }
    }

    /// Streams `incoming`, which arrives over `lease`. A body that is complete gives it back now.
    pub(crate) fn backend(incoming: Incoming, mut lease: Lease, active: ActiveRequest) -> Self {
        let lease = if incoming.is_end_stream() {
            lease.give_back();
            None
        } else {
            Some(lease)
        };
        Self { source: Source::Backend(incoming, lease), active }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let (incoming, lease) = match &mut this.source {
            Source::Own(text) if text.is_empty() => return Poll::Ready(None),
            Source::Own(text) => {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(text)))));
            }
            Source::Backend(incoming, lease) => (incoming, lease),
            Source::Broken(error) => return Poll::Ready(error.take().map(Err)),
        };
        let polled = match lease {
            Some(lease) => lease.poll_with(cx, |cx| Pin::new(&mut *incoming).poll_frame(cx)),
            None => Pin::new(&mut *incoming).poll_frame(cx),
        };
        if let Some(request_deadline) = &this.active.request_deadline {
            request_deadline.polled(polled.is_ready());
        }
        let mut frame = ready!(polled);
        if let Some(trailers) = frame.iter_mut().flatten().find_map(Frame::trailers_mut) {
            fields::strip_trailers(trailers);
        }
        match frame {
            Some(Err(error)) => {
                tracing::debug!(%error, "response from backend broke off");
                if let Some(lease) = lease.take() {
                    lease.fail();
                }
                // hyper forgets what it has not sent yet when it hears of it: that goes first.
                this.source = Source::Broken(Some(error));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Ok(ref part)) if !incoming.is_end_stream() && !part.is_trailers() => {}
            // Nothing follows trailers, and hyper asks no more.
            Some(Ok(_)) | None => {
                if let Some(mut lease) = lease.take() {
                    lease.give_back();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(text) => text.is_empty(),
            Source::Backend(incoming, _) => incoming.is_end_stream(),
            Source::Broken(error) => error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(text) => SizeHint::with_exact(text.len() as u64),
            Source::Backend(incoming, _) => incoming.size_hint(),
            Source::Broken(_) => SizeHint::default(),
        }
    }
}
