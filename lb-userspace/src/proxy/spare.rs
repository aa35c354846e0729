//! A request as it was before it was sent, to send it again.

use hyper::{HeaderMap, Method, Request, Uri};

use super::body::RequestBody;

/// All of a request but its body.
pub(super) struct Spare {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    has_body: bool,
}

impl Spare {
    pub fn of(request: &Request<RequestBody>) -> Self {
        Self {
            method: request.method().clone(),
            target: request.uri().clone(),
            headers: request.headers().clone(),
            has_body: request.body().progress().is_some(),
        }
    }

    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// The same request with `body`.
    pub fn with(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// The same request, where sending it twice does no harm (RFC 9110 9.2.2) and nothing of a body
    /// is lost.
    pub fn again(&self) -> Option<Request<RequestBody>> {
        let is_harmless = self.method.is_idempotent() && !self.has_body;
        is_harmless.then(|| self.with(RequestBody::empty()))
    }
}
