//! Names of regions.
//!
//! The reader cannot know whether a region exists: requests name regions without a server, and
//! `nearby` may be the same list on every node.

use std::sync::Arc;

use crate::config::text::{
    reader::{At, List, Value},
    scalar,
};

/// In requests: every region.
pub(crate) const ANY: &str = "any";

/// Reads the name of one region.
pub(crate) fn region(value: Value<'_>) -> Option<At<Arc<str>>> {
    let name = scalar::name(value)?;
    if &*name == ANY {
        let message = format!("`any` in `{}` stands for every region", value.key());
        return value.refuse(message, "name one region");
    }
    Some(value.at(name))
}

/// Reads names of regions, none twice.
pub(crate) fn regions(value: Value<'_>) -> Option<List<Arc<str>>> {
    let regions = value.list(|it| Some(region(it)?.value))?;
    value.report().refuse_repeats("region", &regions.items);
    Some(regions)
}
