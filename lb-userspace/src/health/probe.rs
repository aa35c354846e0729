//! One check of one server.

use std::{io, net::SocketAddr, time::Duration};

use http_body_util::Empty;
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT},
    http,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time};

use crate::service::{HealthCheck, Probe};

/// What a response's header section may take.
const MAX_HEADERS: usize = 64 * 1024;

/// Why a server is not healthy, for people.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no HTTP response: {0}")]
    Http(#[from] hyper::Error),
    #[error("answered {got} instead of {wanted}")]
    Status { got: StatusCode, wanted: String },
    #[error("the check's request cannot be made: {0}")]
    Request(#[from] http::Error),
}

/// Checks `server` once, within `check.timeout` in all. `server` already has the check's port.
///
/// # Errors
///
/// Why the server is not healthy.
pub async fn probe(check: &HealthCheck, server: SocketAddr) -> Result<(), Failure> {
    let attempt = async {
        let stream = TcpStream::connect(server).await.map_err(Failure::Connect)?;
        match &check.probe {
            Probe::Tcp => Ok(()),
            http @ Probe::Http { status, .. } => {
                judge(*status, ask(stream, request(http, server)?).await?)
            }
        }
    };
    time::timeout(check.timeout, attempt).await.unwrap_or(Err(Failure::Timeout(check.timeout)))
}

type Question = Request<Empty<Bytes>>;

/// The request that `probe` describes. Its own headers win over those made up here.
fn request(probe: &Probe, server: SocketAddr) -> Result<Question, http::Error> {
    let Probe::Http { path, method, hostname, headers, .. } = probe else {
        return Ok(Question::default());
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

/// Sends the request and reads the response's header. The body is not read: closing the
/// connection is all that a long one deserves.
async fn ask(stream: TcpStream, request: Question) -> Result<StatusCode, Failure> {
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEADERS).handshake(TokioIo::new(stream)).await?;
    let response = sender.send_request(request);
    tokio::pin!(response, connection);
    let response = tokio::select! {
        biased;
        response = &mut response => response,
        // The connection ends with the exchange, and knows best why if there was none.
        ended = &mut connection => match ended {
            Ok(()) => response.await,
            Err(error) => Err(error),
        },
    };
    Ok(response?.status())
}

fn judge(wanted: Option<u16>, got: StatusCode) -> Result<(), Failure> {
    let (healthy, wanted) = match wanted {
        Some(status) => (got.as_u16() == status, status.to_string()),
        None => ((200..400).contains(&got.as_u16()), "200 to 399".to_owned()),
    };
    if healthy { Ok(()) } else { Err(Failure::Status { got, wanted }) }
}

#[cfg(test)]
mod tests;
