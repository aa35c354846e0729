//! What came of a request that was sent to a backend.

use std::{future::Future, rc::Rc};

use hyper::{Request, Response, body::Incoming};
use tokio::time::{Instant, timeout_at};

use super::{h1::connection::Failure, lease::Carrier};
use crate::proxy::{
    downstream::request_body::{Progress, RequestBody},
    http::fault::Fault,
};

/// A response whose header has arrived.
pub(crate) struct Answered {
    pub response: Box<Response<Incoming>>,
    pub carrier: Carrier,
    pub progress: Option<Rc<Progress>>,
}

/// Why a backend did not take the request.
pub(crate) enum Refusal {
    /// Another backend may.
    Elsewhere(Box<Request<RequestBody>>, Fault),
    Final(Fault),
}

impl From<&Failure> for Fault {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Unsent(_) | Failure::Closed | Failure::Reset => Self::Closed,
            Failure::Refused => Self::Refused,
            Failure::Body(fault) => *fault,
            Failure::SlowBody => Self::SlowBody,
            Failure::Malformed => Self::BadResponse,
            Failure::TooLarge => Self::LargeResponse,
            Failure::Overdue => Self::SlowResponse,
        }
    }
}

/// Awaits `work` until `deadline`, if there is one. `None`: it took longer.
pub(crate) async fn by<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(work.await),
        Some(deadline) => timeout_at(deadline, work).await.ok(),
    }
}
