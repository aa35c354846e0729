//! HTTP/2 without TLS to backends (RFC 9113 3.3): many requests share one connection, so that it
//! has a task of its own.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    rc::{Rc, Weak},
    task::Poll,
    time::Duration,
};

use hyper::{
    Request, Uri, Version,
    client::conn::http2::{Builder, SendRequest},
    header,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    task::spawn_local,
    time::{Instant, sleep},
};

use super::{
    alarm::Alarm,
    answer::Fault,
    body::RequestBody,
    exchange::{Answered, Refusal, allowance, by, dial_fault, fault},
    http::Local,
    routes::Site,
    spare::Spare,
    upstream::{Clock, Failure, dial},
    worker::Worker,
};
use crate::{
    load::{LoadSlot, Permit},
    service::ConcurrencyKind,
};

/// The largest header section of a response, in bytes.
const MAX_HEADER: u32 = 64 * 1024;

/// A worker's connections, one for each backend.
#[derive(Default)]
pub(super) struct Connections {
    open: RefCell<HashMap<SocketAddr, Shared>>,
    /// Where connections are what is counted: those that are in use.
    counted: RefCell<HashMap<LoadSlot, Weak<Permit>>>,
}

struct Shared {
    sender: SendRequest<RequestBody>,
    used: Instant,
}

/// Whether `request` goes to `site`'s backends by HTTP/2. An upgrade does not: it is a thing of
/// HTTP/1.1.
pub(super) fn takes(site: &Site, request: &Request<RequestBody>) -> bool {
    site.h2_backend && !request.headers().contains_key(header::UPGRADE)
}

/// Whether all such requests of a worker to one backend count as one connection there.
pub(super) fn shares(site: &Site, request: &Request<RequestBody>) -> bool {
    let kind = || site.running().service.concurrency.kind;
    takes(site, request) && kind() == ConcurrencyKind::Connections
}

/// Sends `request`, which has HTTP/1.1's form, and awaits the response's header section.
pub(super) async fn send(
    worker: &Rc<Worker>,
    address: SocketAddr,
    deadline: Option<Instant>,
    spare: &Spare<'_>,
    mut request: Box<Request<RequestBody>>,
) -> Result<Answered, Refusal> {
    readdress(&mut request).ok_or(Refusal::Final(Fault::BadHost))?;
    if let Some(kept) = worker.http2.find(address) {
        request = match send_over(worker, kept, request).await {
            Ok(answered) => return Ok(answered),
            Err(Failure::Unsent(unsent)) => unsent,
            Err(Failure::Closed) => again(spare).ok_or(Refusal::Final(Fault::Closed))?,
            Err(failure) => return Err(Refusal::Final(fault(&failure))),
        };
    }
    let opened = by(deadline, open(worker, address)).await;
    let fresh = match opened.ok_or(Refusal::Final(Fault::ReplayTimeout))? {
        Ok(fresh) => fresh,
        Err(fault) => return Err(Refusal::Elsewhere(restored(request), fault)),
    };
    match send_over(worker, fresh, request).await {
        Ok(answered) => Ok(answered),
        Err(Failure::Unsent(unsent)) => Err(Refusal::Elsewhere(restored(unsent), Fault::Closed)),
        Err(failure) => Err(Refusal::Final(fault(&failure))),
    }
}

fn again(spare: &Spare<'_>) -> Option<Box<Request<RequestBody>>> {
    let mut request = spare.again()?;
    readdress(&mut request).map(|()| request)
}

async fn send_over(
    worker: &Worker,
    mut sender: SendRequest<RequestBody>,
    request: Box<Request<RequestBody>>,
) -> Result<Answered, Failure> {
    let progress = request.body().progress();
    let mut clock = Clock::new(progress.clone(), allowance(worker));
    let mut alarm = Alarm::default();
    let mut sending = pin!(sender.try_send_request(*request));
    let sent = poll_fn(|cx| {
        if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
            return Poll::Ready(Ok(sent));
        }
        alarm.poll(cx, clock.deadline()).map(|()| Err(clock.late()))
    });
    let sent = sent.await?;
    let response = sent.map_err(|mut error| match error.take_message() {
        Some(request) => Failure::Unsent(Box::new(request)),
        None => Failure::classify(&error.into_error(), progress.as_deref()),
    })?;
    Ok(Answered { response: Box::new(response), upstream: None, progress })
}

async fn open(worker: &Worker, address: SocketAddr) -> Result<SendRequest<RequestBody>, Fault> {
    let stream = dial(address, worker).await;
    let stream = stream.map_err(|error| dial_fault(worker, address, &error))?;
    // Requests that came at the same time dialled as well; the first connection serves them all.
    if let Some(opened) = worker.http2.find(address) {
        return Ok(opened);
    }
    let opened = Builder::new(Local)
        .timer(TokioTimer::new())
        .keep_alive_interval(worker.settings.idle_timeout)
        .max_header_list_size(MAX_HEADER)
        .handshake(TokioIo::new(stream));
    let (sender, connection) = opened.await.map_err(|_| Fault::Unreachable)?;
    spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(backend = %address, %error, "connection to backend ended");
        }
    });
    worker.http2.keep(address, sender.clone());
    Ok(sender)
}

impl Connections {
    /// Whether requests to the backend of `slot` are counted already.
    pub fn is_counted(&self, slot: LoadSlot) -> bool {
        self.counted.borrow().get(&slot).is_some_and(|permit| permit.strong_count() > 0)
    }

    pub fn counted(&self, slot: LoadSlot) -> Option<Rc<Permit>> {
        self.counted.borrow().get(&slot)?.upgrade()
    }

    /// Counts them by `permit` as long as one of them is under way.
    pub fn count(&self, slot: LoadSlot, permit: Permit) -> Rc<Permit> {
        let permit = Rc::new(permit);
        self.counted.borrow_mut().insert(slot, Rc::downgrade(&permit));
        permit
    }

    fn find(&self, address: SocketAddr) -> Option<SendRequest<RequestBody>> {
        let mut connections = self.open.borrow_mut();
        let shared = connections.get_mut(&address)?;
        if shared.sender.is_closed() {
            connections.remove(&address);
            return None;
        }
        shared.used = Instant::now();
        Some(shared.sender.clone())
    }

    fn keep(&self, address: SocketAddr, sender: SendRequest<RequestBody>) {
        self.open.borrow_mut().insert(address, Shared { sender, used: Instant::now() });
    }

    /// Lets go of connections that nobody used for `idle`. Each closes when its last request ends.
    fn sweep(&self, idle: Duration) {
        self.counted.borrow_mut().retain(|_, permit| permit.strong_count() > 0);
        let mut connections = self.open.borrow_mut();
        connections.retain(|_, it| !it.sender.is_closed() && it.used.elapsed() < idle);
    }
}

/// Sweeps from time to time, for ever.
pub(super) async fn keep_swept(worker: Rc<Worker>) {
    const OFTEN: Duration = Duration::from_secs(1);
    let idle = worker.settings.upstream_idle_timeout;
    loop {
        sleep(OFTEN.min(idle)).await;
        worker.http2.sweep(idle);
    }
}

/// From HTTP/1.1's form to HTTP/2's: the authority is in the target, and nothing speaks of the
/// connection (RFC 9113 8.2.2).
fn readdress(request: &mut Request<RequestBody>) -> Option<()> {
    let headers = request.headers_mut();
    let host = headers.remove(header::HOST)?;
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let target = Uri::builder().scheme("http").authority(host.as_bytes()).path_and_query(path);
    *request.uri_mut() = target.build().ok()?;
    *request.version_mut() = Version::HTTP_2;
    Some(())
}

/// The form that the request came in, for the next backend.
fn restored(mut request: Box<Request<RequestBody>>) -> Box<Request<RequestBody>> {
    super::host::to_origin_form(&mut request);
    *request.version_mut() = Version::HTTP_11;
    request
}
