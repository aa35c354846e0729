//! Answers to requests that are refused.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    admin::problem::{Problem, ViolationBody},
    objects::{ChangeRefusal, Place, RefusalKind},
};

/// What handlers return in place of an answer.
#[derive(Debug)]
pub(super) struct Refused(Box<Problem>);

impl Refused {
    pub(super) fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("refused");
        Self(Box::new(Problem {
            kind: format!("urn:lb:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            violations: Vec::new(),
        }))
    }

    /// The request cannot be read.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// It can be read, and cannot be done.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }

    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "missing", detail)
    }

    pub(super) fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ending", "the daemon is ending")
    }

    /// `pointer` finds a place in the body of the request.
    pub(super) fn change(
        refusal: &ChangeRefusal,
        pointer: impl Fn(&Place) -> Option<String>,
    ) -> Self {
        let (status, kind) = match refusal.kind {
            RefusalKind::Missing => (StatusCode::NOT_FOUND, "missing"),
            RefusalKind::Conflict => (StatusCode::CONFLICT, "conflict"),
            RefusalKind::Stale => (StatusCode::PRECONDITION_FAILED, "stale"),
            RefusalKind::Unconditional => (StatusCode::PRECONDITION_REQUIRED, "unconditional"),
            RefusalKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            RefusalKind::Unable => (StatusCode::INSUFFICIENT_STORAGE, "unable"),
        };
        let mut refused = Self::new(status, kind, refusal.detail.as_str());
        let violations = refusal.violations.iter();
        refused.0.violations = violations.map(|it| ViolationBody::new(it, &pointer)).collect();
        refused
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, Json(self.0)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
