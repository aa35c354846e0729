//! What the headers of a request ask of the choice of its backend.

use hyper::HeaderMap;

use super::headers::HeaderNames;
use crate::balance::{Location, Preference, Target};

/// Names in one list, at most: more is no preference but a burden.
const MOST_REGIONS: usize = 16;

/// `Fly-Force-Instance-Id` goes before `Fly-Prefer-Instance-Id`.
pub(crate) fn hints(headers: &HeaderMap, names: &HeaderNames) -> Preference {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let instance = |name| text(name).filter(|id| !id.is_empty());
    let target = match (instance(&names.force_instance), instance(&names.prefer_instance)) {
        (Some(id), _) => Target::Only(Location::Instance(id.into())),
        (None, Some(id)) => Target::Prefer(Location::Instance(id.into())),
        (None, None) => Target::Any,
    };
    let regions = text(&names.prefer_region).map(regions).unwrap_or_default();
    Preference { target, regions, ..Preference::NONE }
}

/// A comma-separated list.
pub(crate) fn regions(list: &str) -> Vec<Box<str>> {
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.take(MOST_REGIONS).map(Into::into).collect()
}
