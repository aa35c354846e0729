//! Objects of the API: read and written.

use std::{fmt::Write as _, path::Path, time::Duration};

use hyper::{
    Method, Request,
    body::Bytes,
    header::{ETAG, HeaderMap, IF_MATCH, IF_NONE_MATCH},
};

use super::exchange::{ask_within, exchange_within, parse};
use crate::{
    admin::server::{Changed, ObjectList, OrderBody},
    objects::{Body, Kind, ObjectId, OrderTarget},
};

const READING: Duration = Duration::from_secs(30);
/// A change waits for the one before it.
const WRITING: Duration = Duration::from_secs(300);

/// An object, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub body: Body,
    pub tag: String,
    pub owner: String,
    pub state: String,
    /// Where the file has it.
    pub place: Option<String>,
}

/// Returns all objects of a kind. Blocks; must not be called within a runtime.
///
/// # Errors
///
/// No daemon listens there, access is denied, or the answer cannot be parsed.
pub fn list(socket: &Path, kind: Kind) -> anyhow::Result<ObjectList> {
    let request = Request::get(format!("/v1/{}", kind.name()));
    parse(&ask_within(READING, socket, request, Bytes::new())?)
}

/// Returns an object. Blocks, as above.
///
/// # Errors
///
/// As of [`list`], or there is none of this name.
pub fn read(socket: &Path, id: &ObjectId) -> anyhow::Result<Found> {
    let (headers, body) = exchange_within(READING, socket, Request::get(path(id)), Bytes::new())?;
    let header = |name: &str| text(&headers, name);
    Ok(Found {
        body: parse(&body)?,
        tag: header(ETAG.as_str()).unwrap_or_default(),
        owner: header("lb-owner").unwrap_or_default(),
        state: header("lb-state").unwrap_or_default(),
        place: header("lb-place"),
    })
}

/// Makes an object (no `tag`), or replaces, changes or removes the one with this `tag`. Blocks, as
/// above.
///
/// # Errors
///
/// As of [`list`], or the change is refused: the text says why, in several lines.
pub fn write(
    socket: &Path,
    method: Method,
    id: &ObjectId,
    tag: Option<&str>,
    body: Option<&Body>,
    dry_run: bool,
) -> anyhow::Result<Changed> {
    let query = if dry_run { "?dry_run=true" } else { "" };
    let request = Request::builder().method(method).uri(path(id) + query);
    let request = match tag {
        Some(tag) => request.header(IF_MATCH, tag),
        None => request.header(IF_NONE_MATCH, "*"),
    };
    let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
    parse(&ask_within(WRITING, socket, request, body.into())?)
}

/// Gives an order for a server, or (`None`) takes it back. Blocks, as above.
///
/// # Errors
///
/// As of [`list`], or there is no such server or order.
pub fn order(
    socket: &Path,
    target: &OrderTarget,
    order: Option<&OrderBody>,
) -> anyhow::Result<Changed> {
    let service = escaped(&target.service);
    let path = format!("/v1/orders/{service}/{}", escaped(&target.server.to_string()));
    let body = order.map(serde_json::to_vec).transpose()?.unwrap_or_default();
    let method = if order.is_some() { Method::PUT } else { Method::DELETE };
    let request = Request::builder().method(method).uri(path);
    parse(&ask_within(WRITING, socket, request, body.into())?)
}

fn path(id: &ObjectId) -> String {
    format!("/v1/{}/{}", id.kind.name(), escaped(&id.name))
}

/// A segment of a path.
fn escaped(name: &str) -> String {
    let mut segment = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                segment.push(char::from(byte));
            }
            // Writing to a String does not fail.
            _ => drop(write!(segment, "%{byte:02X}")),
        }
    }
    segment
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
