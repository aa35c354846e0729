//! What shows the running daemon, and orders to it.

#![expect(unused_qualifications, reason = "in what `utoipa::path` writes")]

use std::convert::Infallible;

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
    response::{
        IntoResponse as _, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, broadcast::error::RecvError, mpsc};
use utoipa::IntoParams;

use super::{body::JsonBody, context::Context, events::Event, peer::Peer, refusal::Refused};
use crate::admin::{
    explain::{Explanation, PacketQuery, TraceLine, TraceQuery},
    flows::{FlowList, FlowQuery},
    problem::Problem,
    request::{
        AdminRequest, DrainReply, DrainRequest, ReloadReply, ReloadRequest, UpgradeReply,
        UpgradeRequest,
    },
    status::Status,
};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
pub(super) struct ReloadParams {
    /// Say only what would change.
    dry_run: bool,
}

/// Services, backends, health, live counts and drops.
#[utoipa::path(get, path = "/v1/status", responses(
    (status = 200, body = Status),
    (status = "5XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn status(State(context): State<Context>) -> Result<Json<Status>, Refused> {
    let status = tokio::task::spawn_blocking(move || (context.status)()).await;
    status.map_err(anyhow::Error::from).flatten().map(Json).map_err(|error| {
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "unable", format!("{error:#}"))
    })
}

/// Read the configuration file again.
#[utoipa::path(post, path = "/v1/reload", params(ReloadParams),
    request_body = Option<ReloadRequest>,
    responses(
        (status = 200, body = ReloadReply),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn reload(
    State(context): State<Context>,
    query: Result<Query<ReloadParams>, axum::extract::rejection::QueryRejection>,
    JsonBody(body): JsonBody<Option<ReloadRequest>>,
) -> Result<Json<ReloadReply>, Refused> {
    let Query(params) = query.map_err(|error| Refused::malformed(error.body_text()))?;
    let mut request = body.unwrap_or_default();
    request.dry_run |= params.dry_run;
    context.ask(AdminRequest::Reload, request).await.map(Json)
}

/// Have a new process take the daemon's place.
#[utoipa::path(post, path = "/v1/upgrade", request_body = Option<UpgradeRequest>, responses(
    (status = 200, body = UpgradeReply),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn upgrade(
    State(context): State<Context>,
    peer: Peer,
    JsonBody(request): JsonBody<Option<UpgradeRequest>>,
) -> Result<Json<UpgradeReply>, Refused> {
    tracing::info!(target: "lb::audit", by = %peer, "upgrade");
    context.ask(AdminRequest::Upgrade, request.unwrap_or_default()).await.map(Json)
}

/// Have a server take nothing new, or take new connections again.
#[utoipa::path(put, path = "/v1/drain", request_body = DrainRequest, responses(
    (status = 200, body = DrainReply),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn drain(
    State(context): State<Context>,
    peer: Peer,
    JsonBody(request): JsonBody<DrainRequest>,
) -> Result<Json<DrainReply>, Refused> {
    let DrainRequest { service, server, undo, .. } = &request;
    tracing::info!(target: "lb::audit", by = %peer, service, %server, undo, "drain");
    context.ask(AdminRequest::Drain, request).await.map(Json)
}

/// The connections that are steered now.
#[utoipa::path(post, path = "/v1/flows", request_body = FlowQuery, responses(
    (status = 200, body = FlowList),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn flows(
    State(context): State<Context>,
    JsonBody(query): JsonBody<FlowQuery>,
) -> Result<Json<FlowList>, Refused> {
    context.ask(AdminRequest::Flows, query).await.map(Json)
}

/// What would happen to a packet, and why.
#[utoipa::path(post, path = "/v1/explain", request_body = PacketQuery, responses(
    (status = 200, body = Explanation),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn explain(
    State(context): State<Context>,
    JsonBody(query): JsonBody<PacketQuery>,
) -> Result<Json<Explanation>, Refused> {
    context.ask(AdminRequest::Explain, query).await.map(Json)
}

/// Decisions about packets as they pass, as server-sent events.
#[utoipa::path(post, path = "/v1/trace", request_body = TraceQuery, responses(
    (status = 200, body = TraceLine, content_type = "text/event-stream"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn trace(
    State(context): State<Context>,
    JsonBody(query): JsonBody<TraceQuery>,
) -> Result<Response, Refused> {
    let permit = permit(&context)?;
    let lines = context.ask(AdminRequest::Trace, query).await?;
    let lines = stream::unfold(lines, async |mut lines: mpsc::Receiver<TraceLine>| {
        Some((lines.recv().await?, lines))
    });
    Ok(events_of(context.streams.bounded(lines, permit)))
}

/// Changes of the configuration and of servers' health, as server-sent events.
#[utoipa::path(get, path = "/v1/events", responses(
    (status = 200, body = Event, content_type = "text/event-stream"),
    (status = "5XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn events(State(context): State<Context>) -> Result<Response, Refused> {
    let permit = permit(&context)?;
    let heard = stream::unfold(context.events.listen(), async |mut events| {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(count)) => Event::Missed { count },
            Err(RecvError::Closed) => return None,
        };
        Some((event, events))
    });
    Ok(events_of(context.streams.bounded(heard, permit)))
}

fn permit(context: &Context) -> Result<OwnedSemaphorePermit, Refused> {
    context.streams.enter().ok_or_else(|| {
        let detail = "too many clients follow events or packets already";
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    })
}

fn events_of<T: Serialize + 'static>(items: impl Stream<Item = T> + Send + 'static) -> Response {
    let events = items.map(|item| {
        let text = serde_json::to_string(&item).unwrap_or_default();
        Ok::<_, Infallible>(SseEvent::default().data(text))
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}
