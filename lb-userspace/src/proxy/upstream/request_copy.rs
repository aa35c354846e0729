//! A request as it was before it was sent, to send it again.

use std::{rc::Rc, time::Duration};

use hyper::{
    HeaderMap, Method, Request, Uri,
    header::{HeaderName, HeaderValue},
};
use tokio::time::timeout;

use crate::proxy::{
    downstream::{
        replay_buffer::ReplayBuffer,
        request_body::{BodyProgress, RequestBody},
    },
    http::{fault::Fault, headers::ClientFacts},
};
use crate::settings::ProxySettings;

/// Nearly all of them are thrown away, so that it is only what is needed to make the request anew.
pub(crate) struct RequestCopy<'a> {
    facts: &'a ClientFacts,
    method: Method,
    target: Uri,
    /// Without what `facts` say.
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Kept,
    /// Whoever has the body gives it back within.
    within: Duration,
}

/// What there is of the request's body when it has to be sent again.
enum Kept {
    /// It has none.
    Nothing,
    Buffered(Rc<ReplayBuffer>, Rc<BodyProgress>),
    /// It is known to be too large.
    TooLarge,
}

impl<'a> RequestCopy<'a> {
    /// Of a request that the client's facts are still to be added to, and whose body is kept from
    /// here on.
    pub(crate) fn of(
        request: &mut Request<RequestBody>,
        facts: &'a ClientFacts,
        settings: &ProxySettings,
    ) -> Self {
        let body = match request.body().progress() {
            None => Kept::Nothing,
            Some(progress) => {
                let buffer = request.body_mut().buffered(settings.max_replay_body);
                buffer.map_or(Kept::TooLarge, |buffer| Kept::Buffered(buffer, progress))
            }
        };
        let fields = request.headers().iter();
        Self {
            facts,
            method: request.method().clone(),
            target: request.uri().clone(),
            fields: fields.map(|(name, value)| (name.clone(), value.clone())).collect(),
            body,
            within: settings.response_header_timeout,
        }
    }

    /// Says `value` under `name`, and nothing else.
    pub(crate) fn set(&mut self, name: &HeaderName, value: Option<HeaderValue>) {
        self.fields.retain(|(other, _)| other != name);
        self.fields.extend(value.map(|value| (name.clone(), value)));
    }

    /// The same request with `body`.
    fn with(&self, body: RequestBody) -> Box<Request<RequestBody>> {
        let mut request = Box::new(Request::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers();
        request
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.fields.len() + ClientFacts::MOST);
        for (name, value) in &self.fields {
            headers.append(name, value.clone());
        }
        self.facts.describe(&mut headers);
        headers
    }

    /// The same request, where sending it twice does no harm (RFC 9110 9.2.2) and nothing of a body
    /// is lost.
    pub(crate) fn again(&self) -> Option<Box<Request<RequestBody>>> {
        let is_harmless = self.method.is_idempotent() && matches!(self.body, Kept::Nothing);
        is_harmless.then(|| self.with(RequestBody::empty()))
    }

    /// The same request with its whole body, from a server that did nothing about it.
    pub(crate) async fn whole(&self) -> Result<Box<Request<RequestBody>>, Fault> {
        let (buffer, progress) = match &self.body {
            Kept::Nothing => return Ok(self.with(RequestBody::empty())),
            Kept::Buffered(buffer, progress) => (buffer, progress),
            Kept::TooLarge => return Err(Fault::ReplayTooLarge),
        };
        // HTTP/1.1 gives it back at once. By HTTP/2 it may go on to who does not want it.
        let again = timeout(self.within, RequestBody::rewound(buffer, progress)).await;
        let body = again.map_err(|_| Fault::SlowBody)?.ok_or(Fault::ReplayTooLarge)?;
        Ok(self.with(body))
    }

    /// Nobody will ask for the body again.
    pub(crate) fn forget_body(&self) {
        if let Kept::Buffered(buffer, _) = &self.body {
            buffer.stop();
        }
    }
}
