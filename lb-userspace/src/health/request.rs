//! Sends the request of an HTTP check and reads the response.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use http_body_util::Empty;
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
    header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT},
    http,
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

use super::failure::CheckFailure;
use crate::service::Probe;

/// The maximum size of a response's header section.
const MAX_HEADERS: usize = 64 * 1024;

type CheckRequest = Request<Empty<Bytes>>;

/// Builds the request that `probe` describes. Configured headers replace defaults.
pub(super) fn request(probe: &Probe, server: SocketAddr) -> Result<CheckRequest, http::Error> {
    let Probe::Http { path, method, hostname, headers, .. } = probe else {
        return Ok(CheckRequest::default());
    };
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes())?)
        .uri(&**path)
        .body(Empty::new())?;
    let host = hostname.clone().unwrap_or_else(|| server.to_string().into());
    let made_up = [
        (HOST, HeaderValue::from_str(&host)?),
        (USER_AGENT, HeaderValue::from_static("lb-health-check")),
        (CONNECTION, HeaderValue::from_static("close")),
    ];
    request.headers_mut().extend(made_up);
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        request.headers_mut().insert(name, HeaderValue::from_str(value)?);
    }
    Ok(request)
}

/// Sends the request and reads the response's header. The body is not read: the connection is
/// closed instead.
pub(super) async fn ask<S>(
    stream: S,
    request: CheckRequest,
    h2: bool,
) -> Result<StatusCode, CheckFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let response = if h2 {
        let tasks = Running(Tasks::default());
        let (mut sender, connection) = http2::Builder::new(tasks.0.clone())
            .max_header_list_size(MAX_HEADERS as u32)
            .handshake(io)
            .await?;
        let response = sender.send_request(readdressed(request)?);
        first(response, connection).await
    } else {
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEADERS).handshake(io).await?;
        first(sender.send_request(request), connection).await
    };
    Ok(response?.status())
}

/// Returns the response, while `connection` moves its bytes.
async fn first(
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> hyper::Result<Response<Incoming>> {
    tokio::pin!(response, connection);
    tokio::select! {
        biased;
        response = &mut response => response,
        // The connection ends with the exchange, and knows the reason if that failed.
        ended = &mut connection => match ended {
            Ok(()) => response.await,
            Err(error) => Err(error),
        },
    }
}

/// Converts the request to HTTP/2: the authority is in the target, and connection-specific headers
/// are removed (RFC 9113 8.2.2, 8.3.1).
fn readdressed(mut request: CheckRequest) -> Result<CheckRequest, http::Error> {
    let host = request.headers_mut().remove(HOST);
    request.headers_mut().remove(CONNECTION);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let target = Uri::builder().scheme("http").path_and_query(path);
    let target = target.authority(host.as_ref().map_or(&b""[..], HeaderValue::as_bytes));
    *request.uri_mut() = target.build()?;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}

/// The tasks that hyper runs beside an HTTP/2 connection.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// The tasks hold a reference to themselves; dropping this aborts them.
struct Running(Tasks);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }
}
