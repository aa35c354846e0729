//! Who is at the other end of a connection, and what they may do.

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{Method, StatusCode, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{context::Context, refusal::Refused};

/// A client of the unix socket (SO_PEERCRED).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: Option<i32>,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { uid, gid, pid } = self;
        write!(f, "uid={uid} gid={gid}")?;
        pid.map_or(Ok(()), |pid| write!(f, " pid={pid}"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        parts.extensions.get().copied().ok_or_else(unknown)
    }
}

fn unknown() -> Refused {
    Refused::new(StatusCode::FORBIDDEN, "forbidden", "the system does not say who you are")
}

/// Refuses requests that change something to those who may only read.
pub(super) async fn check(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method())
        || ["/v1/flows", "/v1/explain", "/v1/trace"].contains(&request.uri().path());
    match request.extensions().get::<Peer>() {
        None => unknown().into_response(),
        Some(peer) if !reads && !context.access.load().may_write(peer.uid, peer.gid) => {
            let detail =
                format!("uid {} may only read: see [admin] in the configuration", peer.uid);
            Refused::new(StatusCode::FORBIDDEN, "forbidden", detail).into_response()
        }
        Some(_) => next.run(request).await,
    }
}
