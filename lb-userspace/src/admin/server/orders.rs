//! `/v1/orders`: servers are to be used otherwise than configured, perhaps for a while.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::{body::JsonBody, context::Context, objects::Changed, peer::Peer, refusal::Refused};
use crate::{
    admin::{
        problem::Problem,
        request::{AdminRequest, ChangeEnvelope, ChangeRequest},
    },
    objects::{Order, OrderChange, OrderTarget},
};

/// A year, in milliseconds.
const LONGEST: u64 = 365 * 24 * 3600 * 1000;

/// All orders that stand.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OrderList {
    pub revision: u64,
    pub items: Vec<Order>,
}

/// What a server is to be.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// In place of the configured weight. 0: nothing new.
    pub weight: Option<u16>,
    /// It gets nothing new; what it has goes on.
    #[serde(default)]
    pub drain: bool,
    /// After so many milliseconds the order ends by itself. Default: it stands until it is taken
    /// back.
    pub ttl_ms: Option<u64>,
}

/// List the orders that stand.
#[utoipa::path(get, path = "/v1/orders", responses((status = 200, body = OrderList)))]
pub(super) async fn list(State(context): State<Context>) -> Json<OrderList> {
    let listing = context.listing.load();
    let items = listing.orders.iter().map(|order| Order::clone(order)).collect();
    Json(OrderList { revision: listing.revision, items })
}

/// Give an order for a server of a service, whoever owns it. It takes the place of one before.
#[utoipa::path(put, path = "/v1/orders/{service}/{server}",
    params(("service" = String, Path), ("server" = String, Path)),
    request_body = OrderBody,
    responses(
        (status = 200, body = Changed),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn give(
    State(context): State<Context>,
    peer: Peer,
    path: Result<Path<(String, SocketAddr)>, PathRejection>,
    JsonBody(body): JsonBody<OrderBody>,
) -> Result<Json<Changed>, Refused> {
    let OrderBody { weight, drain, ttl_ms } = body;
    if weight.is_none() && !drain {
        return Err(Refused::invalid("the order says nothing: give `weight`, or `drain`"));
    }
    if ttl_ms.is_some_and(|ttl| ttl == 0 || ttl > LONGEST) {
        return Err(Refused::invalid("`ttl_ms` must be from 1 ms to a year"));
    }
    let until_ms = ttl_ms.map(|ttl| now_ms().saturating_add(ttl));
    let order = Order { target: target(path)?, weight, drain, until_ms };
    ask(&context, OrderChange::Give(order), peer).await
}

/// Take an order back.
#[utoipa::path(delete, path = "/v1/orders/{service}/{server}",
    params(("service" = String, Path), ("server" = String, Path)),
    responses(
        (status = 200, body = Changed),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn take_back(
    State(context): State<Context>,
    peer: Peer,
    path: Result<Path<(String, SocketAddr)>, PathRejection>,
) -> Result<Json<Changed>, Refused> {
    ask(&context, OrderChange::TakeBack(target(path)?), peer).await
}

fn target(path: Result<Path<(String, SocketAddr)>, PathRejection>) -> Result<OrderTarget, Refused> {
    let Path((service, server)) = path.map_err(|_| {
        Refused::missing("an order is at /v1/orders/SERVICE/ADDRESS:PORT, as `lb status` shows it")
    })?;
    Ok(OrderTarget { service, server })
}

async fn ask(context: &Context, order: OrderChange, peer: Peer) -> Result<Json<Changed>, Refused> {
    let request = ChangeRequest {
        operations: Vec::new(),
        orders: vec![order],
        dry_run: false,
        by: peer.to_string(),
    };
    let (reply, answer) = oneshot::channel();
    let asked = AdminRequest::Change(ChangeEnvelope { request, reply });
    let done = context.send(asked, answer).await?;
    let done = done.map_err(|refusal| Refused::change(&refusal, |_| None))?;
    Ok(Json(done.into()))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
