//! What handlers have.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::{events::EventFeed, refusal::Refused, streams::Streams};
use crate::{
    admin::{
        access::SocketAccess,
        request::{AdminRequest, Envelope, RequestSender},
        status::Status,
    },
    objects::Listing,
};

/// Returns the status of now. Called on a thread that may block.
pub type StatusSource = dyn Fn() -> anyhow::Result<Status> + Send + Sync;

/// What the API answers with.
#[derive(Clone)]
pub struct Context {
    pub(super) status: Arc<StatusSource>,
    /// To the event loop.
    pub(super) requests: RequestSender,
    pub(super) listing: Arc<ArcSwap<Listing>>,
    pub(super) events: EventFeed,
    pub(in crate::admin) access: Arc<ArcSwap<SocketAccess>>,
    pub(in crate::admin) streams: Streams,
}

impl Context {
    #[must_use]
    pub fn new(
        status: impl Fn() -> anyhow::Result<Status> + Send + Sync + 'static,
        requests: RequestSender,
        listing: Arc<ArcSwap<Listing>>,
        events: EventFeed,
        access: Arc<ArcSwap<SocketAccess>>,
    ) -> Self {
        let status = Arc::new(status);
        Self { status, requests, listing, events, access, streams: Streams::default() }
    }

    /// Has the event loop answer.
    pub(super) async fn ask<Q, A>(
        &self,
        variant: fn(Envelope<Q, A>) -> AdminRequest,
        request: Q,
    ) -> Result<A, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(variant(Envelope { request, reply }), answer).await?.map_err(Refused::invalid)
    }

    pub(super) async fn send<A>(
        &self,
        request: AdminRequest,
        answer: oneshot::Receiver<A>,
    ) -> Result<A, Refused> {
        self.requests.send(request).await.map_err(|_| Refused::ending())?;
        answer.await.map_err(|_| Refused::ending())
    }
}
