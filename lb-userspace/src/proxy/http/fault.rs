//! Answers of our own: why a request did not reach a backend, or its response the client.

use hyper::{
    Response, StatusCode, Version,
    body::Bytes,
    header::{self, HeaderValue},
};

use super::headers::{self, HeaderNames};
use crate::balance::Unavailable;

/// In seconds: room comes and goes by the moment.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Each has a status, a word for programs and a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("this port speaks TLS: ask it by https")]
    PlainHttp,
    #[error("the request's method is malformed")]
    BadMethod,
    #[error("the request's target is malformed")]
    BadTarget,
    #[error("the request's target is too long")]
    LongTarget,
    #[error("the request's version of HTTP is not known")]
    BadVersion,
    #[error("a line of the request's header section is malformed")]
    BadHeader,
    #[error("the request's header section is too large or has too many lines")]
    HeaderTooLarge,
    #[error("the request has no valid Host")]
    BadHost,
    #[error("the request says the length of its body in two ways")]
    TwoFramings,
    #[error("the request's Content-Length is no number, or not the length of its body")]
    BadLength,
    #[error("the request's only transfer coding must be chunked")]
    BadCoding,
    #[error("a line of the request's header section ends without a carriage return")]
    BareLineFeed,
    #[error("the request's header section did not arrive in time")]
    SlowHeader,
    #[error("the request's body broke off or is malformed")]
    BadBody,
    #[error("the request's body is larger than is allowed")]
    BodyTooLarge,
    #[error("the request's body did not arrive in time")]
    SlowBody,
    #[error("no service has this name here")]
    UnknownHost,
    #[error("this name needs a connection of its own")]
    Misdirected,
    #[error("CONNECT is not supported")]
    Tunnel,
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
    #[error("the service is at its limit")]
    ServiceFull,
    #[error("too many wait for the service already")]
    QueueFull,
    #[error("the service had no room in time")]
    QueueTimeout,
    #[error("the request's body is too large to be sent elsewhere")]
    ReplayTooLarge,
    #[error("the backend's directions for the request are malformed")]
    BadReplay,
    #[error("the backend's directions lead to no service")]
    ReplayNowhere,
    #[error("no backend was reached in the time that the directions give")]
    ReplayTimeout,
    #[error("the request is sent from backend to backend")]
    ReplayLoop,
    #[error("no backend accepted the connection")]
    Unreachable,
    #[error("the backend closed the connection before its response")]
    Closed,
    #[error("the backend refused the request, and no other could have all of it")]
    Refused,
    #[error("the backend's response broke off")]
    BrokeOff,
    #[error("the backend's response is not valid HTTP/1.1")]
    BadResponse,
    #[error("this load balancer has no socket left for a backend")]
    OutOfSockets,
    #[error("no backend accepted the connection in time")]
    SlowDial,
    #[error("the backend's response has a header section that is too large or has too many lines")]
    LargeResponse,
    #[error("the backend's response has another transfer coding than chunks")]
    UnknownCoding,
    #[error("the backend did not respond in time")]
    SlowResponse,
}

impl Fault {
    /// Why hyper found no request in what the client sent. Its errors tell that in words alone.
    pub(crate) fn of_parser(error: &hyper::Error) -> Self {
        match &*error.to_string() {
            "invalid HTTP method parsed" => Self::BadMethod,
            "invalid URI" => Self::BadTarget,
            "URI too long" => Self::LongTarget,
            "invalid content-length parsed" => Self::BadLength,
            "invalid transfer-encoding parsed" | "unexpected transfer-encoding parsed" => {
                Self::BadCoding
            }
            "message head is too large" => Self::HeaderTooLarge,
            version if version.contains("version") => Self::BadVersion,
            _ => Self::BadHeader,
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::PlainHttp
            | Self::BadMethod
            | Self::BadTarget
            | Self::BadVersion
            | Self::BadHeader
            | Self::BadHost
            | Self::BadBody
            | Self::TwoFramings
            | Self::BadLength
            | Self::BadCoding
            | Self::BareLineFeed => StatusCode::BAD_REQUEST,
            Self::LongTarget => StatusCode::URI_TOO_LONG,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownHost => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::SlowBody | Self::SlowHeader => StatusCode::REQUEST_TIMEOUT,
            Self::Tunnel => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable(_)
            | Self::ServiceFull
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::OutOfSockets
            | Self::Refused => StatusCode::SERVICE_UNAVAILABLE,
            Self::ReplayTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadReplay | Self::ReplayNowhere => StatusCode::BAD_GATEWAY,
            Self::ReplayTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ReplayLoop => StatusCode::LOOP_DETECTED,
            Self::Unreachable
            | Self::Closed
            | Self::BrokeOff
            | Self::BadResponse
            | Self::LargeResponse
            | Self::UnknownCoding => StatusCode::BAD_GATEWAY,
            Self::SlowDial | Self::SlowResponse => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::PlainHttp => "plain-http",
            Self::BadMethod => "bad-method",
            Self::BadTarget => "bad-target",
            Self::LongTarget => "target-too-long",
            Self::BadVersion => "bad-version",
            Self::BadHeader => "bad-header",
            Self::HeaderTooLarge => "header-too-large",
            Self::BadHost => "bad-host",
            Self::TwoFramings => "two-framings",
            Self::BadLength => "bad-content-length",
            Self::BadCoding => "bad-transfer-encoding",
            Self::BareLineFeed => "bare-line-feed",
            Self::SlowHeader => "slow-header",
            Self::BodyTooLarge => "body-too-large",
            Self::BadBody => "bad-body",
            Self::SlowBody => "slow-body",
            Self::UnknownHost => "unknown-host",
            Self::Misdirected => "misdirected",
            Self::Tunnel => "connect-unsupported",
            Self::Unavailable(Unavailable::Down) => "no-backend-up",
            Self::Unavailable(Unavailable::Full) => "backends-full",
            Self::Unavailable(Unavailable::Elsewhere) => "no-backend-there",
            Self::ServiceFull => "service-full",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::ReplayTooLarge => "replay-too-large",
            Self::BadReplay => "bad-replay",
            Self::ReplayNowhere => "replay-nowhere",
            Self::ReplayTimeout => "replay-timeout",
            Self::ReplayLoop => "replay-loop",
            Self::OutOfSockets => "out-of-sockets",
            Self::Unreachable => "backend-unreachable",
            Self::Closed => "backend-closed",
            Self::Refused => "backend-refused",
            Self::BrokeOff => "backend-broke-off",
            Self::BadResponse => "backend-bad-response",
            Self::LargeResponse => "backend-header-too-large",
            Self::UnknownCoding => "backend-transfer-encoding",
            Self::SlowDial => "backend-dial-timeout",
            Self::SlowResponse => "backend-response-timeout",
        }
    }

    /// Whether the service failed, rather than the client.
    pub(crate) fn is_ours(self) -> bool {
        self.status().is_server_error() && self != Self::Tunnel
    }

    /// Whether it is in doubt where the client's next request begins, or whether one comes at all.
    pub(crate) fn ends_connection(self) -> bool {
        matches!(self.status().as_u16(), 400 | 408 | 413 | 414 | 431)
    }

    /// For a request that came by `version`.
    pub(crate) fn answer(self, names: &HeaderNames, version: Version) -> Response<Bytes> {
        let status = self.status();
        let mut response = plain(status, format!("{status}: {self}\n").into());
        let why = HeaderValue::from_static(self.word());
        response.headers_mut().insert(names.error.clone(), why);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        // HTTP/2 ends the stream and goes on.
        if self.ends_connection() && version < Version::HTTP_2 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

/// One of our own answers as it is sent where hyper speaks no more.
pub(crate) fn to_bytes(answer: Response<Bytes>) -> Vec<u8> {
    let (parts, text) = answer.into_parts();
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    headers::write(&parts.headers, &mut bytes);
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", text.len()).as_bytes());
    bytes.extend_from_slice(&text);
    bytes
}

fn plain(status: StatusCode, text: Bytes) -> Response<Bytes> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
