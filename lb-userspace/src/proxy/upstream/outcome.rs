//! What came of a request that was sent to a backend.

use std::{future::Future, rc::Rc};

use hyper::{Request, Response, body::Incoming};
use tokio::time::{Instant, timeout_at};

use super::{h1::connection::SendFailure, lease::Carrier};
use crate::proxy::{
    downstream::request_body::{BodyProgress, RequestBody},
    http::fault::Fault,
};

/// A response whose header has arrived.
pub(crate) struct Answered {
    pub response: Box<Response<Incoming>>,
    pub carrier: Carrier,
    pub progress: Option<Rc<BodyProgress>>,
}

/// Why a backend did not take the request.
pub(crate) enum AttemptError {
    /// Another backend may.
    Elsewhere(Box<Request<RequestBody>>, Fault),
    Final(Fault),
}

impl From<&SendFailure> for Fault {
    fn from(failure: &SendFailure) -> Self {
        match failure {
            SendFailure::Unsent(_) | SendFailure::Closed | SendFailure::Reset => Self::Closed,
            SendFailure::Refused => Self::Refused,
            SendFailure::Body(fault) => *fault,
            SendFailure::SlowBody => Self::SlowBody,
            SendFailure::Malformed => Self::BadResponse,
            SendFailure::TooLarge => Self::LargeResponse,
            SendFailure::Overdue => Self::SlowResponse,
        }
    }
}

/// Awaits `work` until `deadline`, if there is one. `None`: it took longer.
pub(crate) async fn before<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Option<T> {
    match deadline {
        None => Some(work.await),
        Some(deadline) => timeout_at(deadline, work).await.ok(),
    }
}
