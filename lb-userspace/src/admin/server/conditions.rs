//! Conditions of requests: entity tags are revisions (RFC 9110, section 13).

use axum::http::{HeaderMap, HeaderName, header};

use super::refusal::Refused;
use crate::objects::{Match, Star};

/// Reads `If-Match`. Of several tags that of the `current` revision counts, if it is among them.
pub(super) fn if_match(
    headers: &HeaderMap,
    current: Option<u64>,
) -> Result<Option<Match>, Refused> {
    let Some(tags) = tags(headers, &header::IF_MATCH)? else { return Ok(None) };
    if tags == ["*"] {
        return Ok(Some(Match::Any(Star::Star)));
    }
    let revisions: Vec<_> = tags.iter().filter_map(|tag| revision(tag)).collect();
    let seen = current.filter(|current| revisions.contains(current));
    // A tag that is none of ours matches nothing: no object is of revision 0.
    let seen = seen.or(revisions.first().copied()).unwrap_or(0);
    Ok(Some(Match::Revision(seen)))
}

/// Whether `If-None-Match: *` says that the object must be new.
pub(super) fn must_be_new(headers: &HeaderMap) -> Result<bool, Refused> {
    match tags(headers, &header::IF_NONE_MATCH)? {
        None => Ok(false),
        Some(tags) if tags == ["*"] => Ok(true),
        Some(_) => Err(Refused::malformed("`If-None-Match` of a write can only be `*`")),
    }
}

/// Whether the client has this revision.
pub(super) fn is_seen(headers: &HeaderMap, current: u64) -> bool {
    let tags = tags(headers, &header::IF_NONE_MATCH).ok().flatten().unwrap_or_default();
    // Weak tags are as good here.
    tags.iter().any(|tag| *tag == "*" || revision(tag.trim_start_matches("W/")) == Some(current))
}

fn tags<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<Vec<&'h str>>, Refused> {
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let text =
            value.to_str().map_err(|_| Refused::malformed(format!("`{name}` is no text")))?;
        tags.extend(text.split(',').map(str::trim).filter(|tag| !tag.is_empty()));
    }
    Ok(Some(tags).filter(|tags| !tags.is_empty()))
}

fn revision(tag: &str) -> Option<u64> {
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}
