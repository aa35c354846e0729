//! `fly-replay`: a backend answers that the request is another's, and we bring it there.
//!
//! <https://fly.io/docs/networking/dynamic-request-routing/>

use std::{
    fmt::Write as _,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hyper::{
    Request, Response,
    body::{Body as _, Incoming},
    header::HeaderValue,
};

use super::client::Client;
use crate::proxy::{
    downstream::request_body::RequestBody,
    http::{
        fault::Fault,
        fly_replay::{self, Directions, Fallback},
        headers::{HeaderNames, X_FORWARDED_CLIENT_CERT},
    },
    routing::routes::Site,
    upstream::{
        exchange::{Exchange, RequestContext, exchange},
        request_copy::RequestCopy,
    },
};
use crate::{
    balance::{Location, Preference, Target},
    fleet::Backend,
};

/// Times that one request is sent elsewhere.
const MOST: usize = 5;

/// A request that may be replayed, on its way.
pub(crate) struct ReplayableRequest<'a> {
    client: &'a Rc<Client>,
    copy: RequestCopy<'a>,
    /// The request until it is sent for the first time.
    first: Option<Box<Request<RequestBody>>>,
}

impl<'a> ReplayableRequest<'a> {
    /// Of a request that nothing was said of the client in yet.
    pub(crate) fn new(client: &'a Rc<Client>, mut request: Box<Request<RequestBody>>) -> Self {
        let settings = &client.worker.settings;
        let copy = RequestCopy::of(&mut request, &client.facts, settings);
        client.facts.describe(request.headers_mut());
        Self { client, copy, first: Some(request) }
    }

    /// Sends it to `site`, and wherever the answers say.
    pub(crate) async fn send(
        &mut self,
        site: &Arc<Site>,
        preference: &Preference,
    ) -> Result<Exchange, Fault> {
        let mut site = site.clone();
        let mut answered = self.exchange(&site, preference, None).await?;
        for _ in 0..MOST {
            let Some(directions) = directions(&answered.response, self.names())? else {
                return Ok(self.settle(answered));
            };
            let source = answered.lease.backend().clone();
            discard(answered);
            let began = Instant::now();
            match Box::pin(self.follow(&site, &source, &directions)).await {
                Ok(followed) => (site, answered) = followed,
                Err(fault) => {
                    let fallback =
                        directions.fallback.filter(|_| is_unreached(fault)).ok_or(fault)?;
                    let failed = failed(&directions, &source, fault, began.elapsed());
                    return Box::pin(self.fall_back(&site, &source, fallback, &failed)).await;
                }
            }
        }
        match directions(&answered.response, self.names())? {
            None => Ok(self.settle(answered)),
            Some(_) => Err(Fault::ReplayLoop),
        }
    }

    fn names(&self) -> &'a HeaderNames {
        self.client.facts.names()
    }

    async fn exchange(
        &mut self,
        site: &Arc<Site>,
        preference: &Preference,
        within: Option<Duration>,
    ) -> Result<Exchange, Fault> {
        let request = match self.first.take() {
            Some(first) => first,
            None => self.copy.whole().await?,
        };
        let upstreams = &self.client.worker.upstreams;
        let (names, peer) = (self.names(), self.client.peer);
        let context = RequestContext { upstreams, names, peer, preference, within };
        exchange(site, &context, &mut self.copy, request).await
    }

    /// Nobody will ask for the body again.
    fn settle(&self, answered: Exchange) -> Exchange {
        self.copy.forget_body();
        answered.settle()
    }

    async fn follow(
        &mut self,
        site: &Arc<Site>,
        source: &Backend,
        directions: &Directions,
    ) -> Result<(Arc<Site>, Exchange), Fault> {
        let target = match &directions.app {
            None => site.clone(),
            Some(app) => self.service(app).ok_or(Fault::ReplayNowhere)?,
        };
        let src = source_header(source, directions.state.as_deref());
        let names = self.names();
        self.copy.set(&names.replay_src, Some(src));
        // What one service is told of the client's certificate is not another's to know.
        if directions.app.is_some() && self.client.certificate(&target).is_none() {
            self.copy.set(&X_FORWARDED_CLIENT_CERT, None);
        }
        target.running().count();
        let preference = preference(directions, source);
        let answered = self.exchange(&target, &preference, directions.timeout).await?;
        Ok((target, answered))
    }

    /// Another service, unless it asks more of its clients than this one was asked for.
    fn service(&self, name: &str) -> Option<Arc<Site>> {
        let site = self.client.worker.with_routes(|routes| routes.service(name).cloned());
        site.filter(|site| self.client.is_entitled(site))
    }

    async fn fall_back(
        &mut self,
        site: &Arc<Site>,
        source: &Backend,
        fallback: Fallback,
        failed: &str,
    ) -> Result<Exchange, Fault> {
        let names = self.names();
        self.copy.set(&names.replay_src, None);
        if let Ok(failed) = HeaderValue::from_str(failed) {
            self.copy.set(&names.replay_failed, Some(failed));
        }
        let place = Location::Server(source.server.address);
        let target = match fallback {
            Fallback::ForceSelf => Target::Only(place),
            Fallback::PreferSelf => Target::Prefer(place),
        };
        let answered =
            self.exchange(site, &Preference { target, ..Preference::NONE }, None).await?;
        match directions(&answered.response, names)? {
            None => Ok(self.settle(answered)),
            Some(_) => Err(Fault::ReplayLoop),
        }
    }
}

/// Drops a response that nobody will see, and with it the request: what was not read of its body
/// goes back to the buffer. Where all of the response is at hand, its connection can serve others.
fn discard(answered: Exchange) {
    /// Parts of a response that are read for that.
    const PARTS: usize = 16;
    let Exchange { response, mut lease, .. } = answered;
    let mut body = response.into_body();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..PARTS {
        if body.is_end_stream() {
            return lease.give_back();
        }
        match lease.poll_with(&mut cx, |cx| Pin::new(&mut body).poll_frame(cx)) {
            Poll::Ready(None) => return lease.give_back(),
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_))) | Poll::Pending => return,
        }
    }
}

/// What the response says of another place, if it does.
fn directions(
    response: &Response<Incoming>,
    names: &HeaderNames,
) -> Result<Option<Directions>, Fault> {
    let Some(value) = response.headers().get(&names.replay) else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().map(fly_replay::parse);
    match parsed {
        Some(Ok(directions)) => Ok(Some(directions)),
        Some(Err(error)) => {
            tracing::debug!(?value, %error, "replay header of a backend");
            Err(Fault::BadReplay)
        }
        None => Err(Fault::BadReplay),
    }
}

fn preference(directions: &Directions, source: &Backend) -> Preference {
    let target = match (&directions.instance, &directions.prefer_instance) {
        (Some(id), _) => Target::Only(Location::Instance(id.clone())),
        (None, Some(id)) => Target::Prefer(Location::Instance(id.clone())),
        (None, None) => Target::Any,
    };
    Preference {
        target,
        regions: directions.regions.clone(),
        is_strict: true,
        excluded: directions.elsewhere.then_some(source.server.address),
    }
}

/// Whether no backend was reached, so that the request has had no effect.
fn is_unreached(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::Unavailable(_)
            | Fault::ServiceFull
            | Fault::QueueFull
            | Fault::QueueTimeout
            | Fault::Unreachable
            | Fault::Refused
            | Fault::SlowDial
            | Fault::ReplayNowhere
            | Fault::ReplayTimeout
    )
}

/// Who sent the request away, and when in microseconds since 1970.
fn source_header(source: &Backend, state: Option<&str>) -> HeaderValue {
    let mut text = String::new();
    for (name, value) in [("instance", &source.server.instance), ("region", &source.server.region)]
    {
        if let Some(value) = value {
            let _ = write!(text, "{name}={value};");
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let _ = write!(text, "t={}", now.as_micros());
    if let Some(state) = state {
        let _ = write!(text, ";state={state}");
    }
    // The state came in a header as text.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn failed(directions: &Directions, source: &Backend, fault: Fault, elapsed: Duration) -> String {
    let mut text = String::new();
    let regions = directions.regions.join(",");
    let instance = directions.instance.as_deref().or(directions.prefer_instance.as_deref());
    for (name, value) in [
        ("instance", instance),
        ("app", directions.app.as_deref()),
        ("region", Some(&*regions).filter(|it| !it.is_empty())),
        ("replay_source", source.server.instance.as_deref()),
    ] {
        if let Some(value) = value {
            let _ = write!(text, "{name}={value};");
        }
    }
    let reason = match fault {
        Fault::ReplayTimeout | Fault::QueueTimeout => "timeout",
        Fault::Unreachable | Fault::SlowDial => "retries_exhausted",
        _ => "no_candidate",
    };
    let _ = write!(text, "reason={reason};elapsed_ms={}", elapsed.as_millis());
    text
}
