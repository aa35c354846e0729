//! A request as it was before it was sent, to send it again.

use hyper::{
    HeaderMap, Method, Request, Uri,
    header::{HeaderName, HeaderValue},
};

use super::{body::RequestBody, headers::Facts};

/// All of a request but its body. Nearly all of them are thrown away, so that it is only what is
/// needed to make the request anew.
pub(super) struct Spare<'a> {
    facts: &'a Facts,
    method: Method,
    target: Uri,
    /// Without what `facts` say.
    fields: Vec<(HeaderName, HeaderValue)>,
    has_body: bool,
}

impl<'a> Spare<'a> {
    /// Of a request that `facts` are still to be added to.
    pub fn of(request: &Request<RequestBody>, facts: &'a Facts) -> Self {
        let fields = request.headers().iter();
        Self {
            facts,
            method: request.method().clone(),
            target: request.uri().clone(),
            fields: fields.map(|(name, value)| (name.clone(), value.clone())).collect(),
            has_body: request.body().progress().is_some(),
        }
    }

    /// Says `value` under `name`, and nothing else.
    pub fn set(&mut self, name: &HeaderName, value: Option<HeaderValue>) {
        self.fields.retain(|(other, _)| other != name);
        self.fields.extend(value.map(|value| (name.clone(), value)));
    }

    /// The same request with `body`.
    pub fn with(&self, body: RequestBody) -> Box<Request<RequestBody>> {
        let mut request = Box::new(Request::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers();
        request
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.fields.len() + Facts::MOST);
        for (name, value) in &self.fields {
            headers.append(name, value.clone());
        }
        self.facts.describe(&mut headers);
        headers
    }

    /// The same request, where sending it twice does no harm (RFC 9110 9.2.2) and nothing of a body
    /// is lost.
    pub fn again(&self) -> Option<Box<Request<RequestBody>>> {
        let is_harmless = self.method.is_idempotent() && !self.has_body;
        is_harmless.then(|| self.with(RequestBody::empty()))
    }
}
