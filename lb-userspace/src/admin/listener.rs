//! The admin listener: HTTP/1.1 over a unix socket that only its owner may open.

use std::{
    convert::Infallible,
    fs,
    future::pending,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _},
            net::UnixListener as StdUnixListener,
        },
    },
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::{UnixListener, UnixStream},
    select,
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::{self, MissedTickBehavior},
};
use tracing::{debug, warn};

use super::{
    error::AdminError,
    handover::AdminHandover,
    json_lines::JsonLines,
    lock_file::LockFile,
    request::{AdminRequest, Envelope, RequestSender},
    socket_path::{SocketPath, listen, lock, lock_path},
    status::Status,
};

/// Connections at a time; more wait in the listen queue.
const MAX_CONNECTIONS: usize = 32;
/// For a request's header section.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole connection: longer than any client waits for its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(400);
/// Bytes of a request's header section.
const MAX_HEADERS: usize = 16 * 1024;
/// Bytes of a request's body.
const MAX_BODY: usize = 16 * 1024;
/// Between looks at whether the socket is still in its place.
const LOOK: Duration = Duration::from_secs(1);
/// The pause after a failed accept, for example when there are no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Returns the status of now. Called on a thread that may block.
type Source = dyn Fn() -> anyhow::Result<Status> + Send + Sync;

/// The daemon's listening socket, open to its owner alone. Removed when dropped.
#[derive(Debug)]
pub struct AdminListener {
    listener: UnixListener,
    path: SocketPath,
}

impl AdminListener {
    /// Opens the socket at `path`, and replaces one that a crashed daemon left behind. Creates a
    /// missing directory.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Another daemon has it, something else is at the path, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, AdminError> {
        let lock = lock(path)?;
        let (listener, identity) = listen(path)?;
        let failed = |source| AdminError::Listen { path: path.to_owned(), source };
        let given = Arc::default();
        let path = SocketPath { path: path.to_owned(), identity, lock, given };
        let listener = Self { listener, path };
        listener.share().map_err(failed)?;
        Ok(listener)
    }

    /// The same with a socket and its lock that another process shares.
    ///
    /// # Errors
    ///
    /// It is not at this path any more.
    pub fn inherit(path: &Path, listener: OwnedFd, lock: OwnedFd) -> Result<Self, AdminError> {
        let open = || {
            let listener = StdUnixListener::from(listener);
            listener.set_nonblocking(true)?;
            let found = fs::symlink_metadata(path)?;
            Ok((UnixListener::from_std(listener)?, (found.dev(), found.ino())))
        };
        let (listener, identity) =
            open().map_err(|source| AdminError::Listen { path: path.to_owned(), source })?;
        let lock = LockFile::inherit(&lock_path(path), lock);
        let failed = |source| AdminError::Listen { path: path.to_owned(), source };
        let given = Arc::default();
        let path = SocketPath { path: path.to_owned(), identity, lock, given };
        // It is the other process's until this one serves.
        path.given.away.store(true, Ordering::Release);
        let listener = Self { listener, path };
        listener.share().map_err(failed)?;
        Ok(listener)
    }

    /// Returns the way to give the socket to another process.
    #[must_use]
    pub fn handover(&self) -> AdminHandover {
        AdminHandover(self.path.given.clone())
    }

    /// Notes the socket and its lock for another process.
    fn share(&self) -> io::Result<()> {
        let listener = self.listener.as_fd().try_clone_to_owned()?;
        let lock = self.path.lock.fd().try_clone_to_owned()?;
        *self.path.given.lock() = Some((listener, lock));
        Ok(())
    }

    /// Checks what would keep [`open`](Self::open) from the path. Another daemon is no reason: it
    /// may well run.
    ///
    /// # Errors
    ///
    /// Something else is at the path.
    pub fn examine(path: &Path) -> Result<(), AdminError> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                Err(AdminError::NoSocket(path.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Opens the socket again if somebody removed it or its directory: otherwise nobody could send
    /// a request until a restart. Returns whether that was so.
    fn reopen_if_removed(&mut self) -> Result<bool, AdminError> {
        if self.path.is_in_place() {
            return Ok(false);
        }
        let SocketPath { path, identity, lock: ours, .. } = &mut self.path;
        if !ours.is_in_place() {
            *ours = lock(path)?;
        }
        (self.listener, *identity) = listen(path)?;
        let failed = |source| AdminError::Listen { path: self.path.path.clone(), source };
        self.share().map_err(failed)?;
        Ok(true)
    }

    /// Answers requests until the future is dropped.
    pub async fn serve(
        mut self,
        source: impl Fn() -> anyhow::Result<Status> + Send + Sync + 'static,
        requests: RequestSender,
    ) -> Infallible {
        let source: Arc<Source> = Arc::new(source);
        self.path.given.away.store(false, Ordering::Release);
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut look = time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lost = Lost::default();
        loop {
            let permit = room.clone().acquire_owned().await;
            let accepted = select! {
                accepted = self.listener.accept() => accepted,
                () = self.path.given.news.notified() => break,
                _ = look.tick() => {
                    let reopened = self.reopen_if_removed();
                    lost.tell(&self.path.path, reopened);
                    continue;
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = serve_connection(stream, source.clone(), requests.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept on the admin socket");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        let given = self.path.given.clone();
        drop(self);
        given.released.notify_one();
        while connections.join_next().await.is_some() {}
        given.ended.notify_one();
        pending().await
    }
}

/// What was logged of a socket that somebody removed.
#[derive(Default)]
struct Lost {
    /// Why it could not be opened again.
    told: Option<String>,
}

impl Lost {
    fn tell(&mut self, path: &Path, reopened: Result<bool, AdminError>) {
        let path = path.display();
        match reopened {
            Ok(opened) => {
                self.told = None;
                if opened {
                    warn!(%path, "the admin socket was removed: it is open again");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if self.told.as_ref() != Some(&error) {
                    warn!(%path, error, "the admin socket was removed, and cannot be opened again");
                }
                self.told = Some(error);
            }
        }
    }
}

async fn serve_connection(stream: UnixStream, source: Arc<Source>, requests: RequestSender) {
    let lasting = Arc::new(AtomicBool::new(false));
    let lasts = lasting.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (source, requests) = (source.clone(), requests.clone());
        lasts.store(request.uri().path() == "/v1/trace", Ordering::Relaxed);
        async move { Ok::<_, Infallible>(answer(request, source, &requests).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    loop {
        match time::timeout(CONNECTION_TIMEOUT, &mut connection).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => return debug!(%error, "admin connection failed"),
            Err(_) if lasting.load(Ordering::Relaxed) => {}
            Err(_) => return debug!("admin connection took too long"),
        }
    }
}

type Answer = Response<Either<Full<Bytes>, JsonLines>>;

#[derive(Serialize)]
struct ErrorBody {
    error: String,
}

async fn answer(
    request: Request<Incoming>,
    source: Arc<Source>,
    requests: &RequestSender,
) -> Answer {
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let body = request.into_body();
    match (&*path, &method) {
        ("/v1/status", &Method::GET) => status(source).await,
        ("/v1/drain", &Method::PUT) => forward(body, requests, AdminRequest::Drain).await,
        ("/v1/reload", &Method::POST) => forward(body, requests, AdminRequest::Reload).await,
        ("/v1/upgrade", &Method::POST) => forward(body, requests, AdminRequest::Upgrade).await,
        ("/v1/flows", &Method::POST) => forward(body, requests, AdminRequest::Flows).await,
        ("/v1/explain", &Method::POST) => forward(body, requests, AdminRequest::Explain).await,
        ("/v1/trace", &Method::POST) => trace(body, requests).await,
        ("/v1/status", method) => refuse_method(method, "GET"),
        ("/v1/drain", method) => refuse_method(method, "PUT"),
        ("/v1/reload" | "/v1/upgrade" | "/v1/flows" | "/v1/explain" | "/v1/trace", method) => {
            refuse_method(method, "POST")
        }
        (path, _) => error_answer(
            StatusCode::NOT_FOUND,
            format!(
                "there is no {path}; there are /v1/status, drain, reload, upgrade, flows, explain and trace"
            ),
        ),
    }
}

fn refuse_method(method: &Method, allowed: &'static str) -> Answer {
    let mut answer = error_answer(StatusCode::METHOD_NOT_ALLOWED, format!("no {method} here"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// Passes what the body asks for to the event loop.
async fn forward<Q: DeserializeOwned, A: Serialize>(
    body: Incoming,
    requests: &RequestSender,
    variant: fn(Envelope<Q, A>) -> AdminRequest,
) -> Answer {
    match ask(body, requests, variant).await {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(refusal) => refusal,
    }
}

async fn ask<Q: DeserializeOwned, A>(
    body: Incoming,
    requests: &RequestSender,
    variant: fn(Envelope<Q, A>) -> AdminRequest,
) -> Result<A, Answer> {
    let bad = |error: String| error_answer(StatusCode::BAD_REQUEST, error);
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|error| bad(error.to_string()))?.to_bytes();
    let request = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the request is not valid: {error}")))?;
    let (reply, answer) = oneshot::channel();
    let answer = match requests.send(variant(Envelope { request, reply })).await {
        Ok(()) => answer.await.ok(),
        Err(_) => None,
    };
    let ending =
        || error_answer(StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending".to_owned());
    answer.ok_or_else(ending)?.map_err(bad)
}

/// Streams a trace for as long as the client listens.
async fn trace(body: Incoming, requests: &RequestSender) -> Answer {
    match ask(body, requests, AdminRequest::Trace).await {
        Ok(lines) => Response::new(Either::Right(JsonLines::new(lines))),
        Err(refusal) => refusal,
    }
}

async fn status(source: Arc<Source>) -> Answer {
    let status = tokio::task::spawn_blocking(move || source()).await;
    match status.map_err(anyhow::Error::from).flatten() {
        Ok(status) => json(StatusCode::OK, &status),
        Err(error) => error_answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}

fn error_answer(code: StatusCode, error: String) -> Answer {
    json(code, &ErrorBody { error })
}

fn json(code: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).expect("strings, numbers and lists are JSON");
    let mut answer = Response::new(Either::Left(Full::from(body)));
    *answer.status_mut() = code;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
