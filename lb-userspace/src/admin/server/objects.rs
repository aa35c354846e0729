//! `/v1/services`, `/v1/pools`, `/v1/certificates`, and changes of several at once.

#![expect(unused_qualifications, reason = "in what `utoipa::path` writes")]

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};

use super::{
    body::JsonBody,
    conditions::{if_match, is_seen, must_be_new},
    context::Context,
    peer::Peer,
    refusal::Refused,
};
use crate::{
    admin::{
        problem::Problem,
        request::{AdminRequest, ChangeEnvelope, ChangeReply, ChangeRequest},
    },
    objects::{Body, Kind, Listed, ObjectId, Operation, Owner, Place, Verb},
};

/// All objects of a kind.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ObjectList {
    /// Of everything that is configured.
    pub revision: u64,
    /// In the order of their names. A name may have one of the file and one of the API.
    pub items: Vec<Listed>,
}

/// What a change did, or would do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    pub revision: u64,
    /// A sentence for each service and setting that changes.
    pub changes: Vec<String>,
    pub warnings: Vec<String>,
}

/// Several operations, done together or not at all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeBody {
    operations: Vec<Operation>,
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct ListParams {
    /// Only those of this owner.
    owner: Option<Owner>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
pub(super) struct WriteParams {
    /// Say only what would change.
    dry_run: bool,
}

/// List the objects of a kind, with their owners and whether they run.
#[utoipa::path(get, path = "/v1/{kind}", params(("kind" = Kind, Path), ListParams), responses(
    (status = 200, body = ObjectList),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(context): State<Context>,
    kind: Result<Path<Kind>, axum::extract::rejection::PathRejection>,
    query: Result<Query<ListParams>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<ObjectList>, Refused> {
    let Path(kind) = kind.map_err(|_| Refused::missing("there is no such kind of object"))?;
    let Query(params) = query.map_err(|error| Refused::malformed(error.body_text()))?;
    let listing = context.listing.load();
    let wanted = |it: &&Listed| params.owner.is_none_or(|owner| it.owner == owner);
    let items = listing.of(kind).filter(wanted).cloned().collect();
    Ok(Json(ObjectList { revision: listing.revision, items }))
}

/// Get an object. Its revision is the ETag, its owner and state are in `Lb-Owner` and `Lb-State`.
#[utoipa::path(get, path = "/v1/{kind}/{name}",
    params(("kind" = Kind, Path), ("name" = String, Path), ListParams),
    responses(
        (status = 200, body = Object),
        (status = 304),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(context): State<Context>,
    path: Result<Path<(Kind, String)>, axum::extract::rejection::PathRejection>,
    query: Result<Query<ListParams>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let id = id(path)?;
    let Query(params) = query.map_err(|error| Refused::malformed(error.body_text()))?;
    let listing = context.listing.load();
    let found = listing.get(&id, params.owner);
    let found = found.ok_or_else(|| Refused::missing(format!("there is no {id}")))?;
    let mut response = match is_seen(&headers, found.revision) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Json(&found.object).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag(found.revision));
    headers.insert("lb-owner", word(&found.owner));
    headers.insert("lb-state", word(&found.state));
    if let Some(Ok(place)) = found.place.as_deref().map(HeaderValue::from_str) {
        headers.insert("lb-place", place);
    }
    Ok(response)
}

/// Make an object, or replace it. What exists needs `If-Match`.
#[utoipa::path(put, path = "/v1/{kind}/{name}",
    params(("kind" = Kind, Path), ("name" = String, Path), WriteParams,
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    request_body = Object,
    responses(
        (status = 200, body = Changed), (status = 201, body = Changed),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn put(
    State(context): State<Context>,
    target: WriteTarget,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refused> {
    let verb = if target.must_be_new { Verb::Create } else { Verb::Put };
    target.write(&context, verb, Some(body)).await
}

/// Change some keys of an object: a JSON merge patch (RFC 7396). Needs `If-Match`.
#[utoipa::path(patch, path = "/v1/{kind}/{name}",
    params(("kind" = Kind, Path), ("name" = String, Path), WriteParams,
        ("If-Match" = Option<String>, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, body = Changed),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn patch(
    State(context): State<Context>,
    target: WriteTarget,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Refused> {
    target.write(&context, Verb::Patch, Some(body)).await
}

/// Remove an object. Needs `If-Match`.
#[utoipa::path(delete, path = "/v1/{kind}/{name}",
    params(("kind" = Kind, Path), ("name" = String, Path), WriteParams,
        ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = Changed),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(context): State<Context>,
    target: WriteTarget,
) -> Result<Response, Refused> {
    target.write(&context, Verb::Delete, None).await
}

/// Carry out several operations as one revision, or none of them.
#[utoipa::path(post, path = "/v1/changes", params(WriteParams), request_body = ChangeBody,
    responses(
        (status = 200, body = Changed),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change(
    State(context): State<Context>,
    peer: Peer,
    query: Result<Query<WriteParams>, axum::extract::rejection::QueryRejection>,
    JsonBody(body): JsonBody<ChangeBody>,
) -> Result<Json<Changed>, Refused> {
    let Query(params) = query.map_err(|error| Refused::malformed(error.body_text()))?;
    let ids: Vec<_> = body.operations.iter().map(|operation| operation.id.clone()).collect();
    let reply = ask(&context, body.operations, params.dry_run, peer, |place| {
        let Place::Api { object, pointer } = place else { return None };
        let number = ids.iter().position(|id| id == object)?;
        Some(format!("/operations/{number}/body{pointer}"))
    });
    Ok(Json(reply.await?.into()))
}

async fn ask(
    context: &Context,
    operations: Vec<Operation>,
    dry_run: bool,
    peer: Peer,
    pointer: impl Fn(&Place) -> Option<String>,
) -> Result<ChangeReply, Refused> {
    let orders = Vec::new();
    let request = ChangeRequest { operations, orders, dry_run, by: peer.to_string() };
    let (reply, answer) = oneshot::channel();
    let asked = AdminRequest::Change(ChangeEnvelope { request, reply });
    let answer = context.send(asked, answer).await?;
    answer.map_err(|refusal| Refused::change(&refusal, pointer))
}

/// An object that is to be written, and what the client says of it.
pub(super) struct WriteTarget {
    id: ObjectId,
    if_match: Option<crate::objects::Match>,
    must_be_new: bool,
    dry_run: bool,
    peer: Peer,
}

impl axum::extract::FromRequestParts<Context> for WriteTarget {
    type Rejection = Refused;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        context: &Context,
    ) -> Result<Self, Refused> {
        let id = id(Path::from_request_parts(parts, context).await)?;
        let query = Query::<WriteParams>::from_request_parts(parts, context).await;
        let Query(params) = query.map_err(|error| Refused::malformed(error.body_text()))?;
        let current = context.listing.load().get(&id, Some(Owner::Api)).map(|it| it.revision);
        Ok(Self {
            if_match: if_match(&parts.headers, current)?,
            must_be_new: must_be_new(&parts.headers)?,
            dry_run: params.dry_run,
            peer: Peer::from_request_parts(parts, context).await?,
            id,
        })
    }
}

impl WriteTarget {
    async fn write(
        self,
        context: &Context,
        op: Verb,
        body: Option<Body>,
    ) -> Result<Response, Refused> {
        let Self { id, if_match, dry_run, peer, .. } = self;
        // What exists is not written without the revision that was seen.
        let is_made = matches!(op, Verb::Put | Verb::Create) && if_match.is_none();
        let operation = Operation { op, id: id.clone(), body, if_match };
        let reply = ask(context, vec![operation], dry_run, peer, |place| match place {
            Place::Api { object, pointer } if *object == id => Some(pointer.clone()),
            _ => None,
        });
        let reply = reply.await?;
        let tag = reply.revisions.first().copied().flatten().filter(|_| !dry_run);
        let code = if is_made && !dry_run { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = (code, Json(Changed::from(reply))).into_response();
        if let Some(revision) = tag {
            response.headers_mut().insert(header::ETAG, etag(revision));
        }
        Ok(response)
    }
}

impl From<ChangeReply> for Changed {
    fn from(reply: ChangeReply) -> Self {
        let ChangeReply { revision, changes, warnings, .. } = reply;
        Self { revision, changes, warnings }
    }
}

fn id(
    path: Result<Path<(Kind, String)>, axum::extract::rejection::PathRejection>,
) -> Result<ObjectId, Refused> {
    let Path((kind, name)) =
        path.map_err(|_| Refused::missing("there is no such kind of object"))?;
    Ok(ObjectId::new(kind, name))
}

fn etag(revision: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{revision}\"")).expect("digits in quotes are a header's value")
}

/// The one word that a value is in JSON.
fn word(value: &impl Serialize) -> HeaderValue {
    let word = serde_json::to_value(value).ok();
    let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or_default();
    HeaderValue::from_str(word).unwrap_or(HeaderValue::from_static(""))
}
