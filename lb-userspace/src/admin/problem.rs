//! Refusals of the API (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::objects::{Place, Violation};

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem; docs/api.md lists them.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// Every rule that is broken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<ViolationBody>,
}

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ViolationBody {
    /// A JSON pointer into the body of the request (RFC 6901), if the place is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Where it is in all that is configured: `services/web /ports/0`, or a place of the file.
    pub at: String,
    pub detail: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The other side of a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts_with: Option<String>,
}

impl ViolationBody {
    /// `pointer` finds a place in the body of the request.
    pub(super) fn new(violation: &Violation, pointer: impl Fn(&Place) -> Option<String>) -> Self {
        Self {
            pointer: pointer(&violation.at),
            at: violation.at.to_string(),
            detail: violation.detail.clone(),
            help: violation.help.clone(),
            conflicts_with: violation.conflicts_with.as_ref().map(ToString::to_string),
        }
    }
}
