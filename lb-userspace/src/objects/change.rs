//! What clients of the API want changed, and why that is refused.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    object::{Body, ObjectId},
    violation::Violation,
};

/// One object is to be made, replaced, changed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    pub op: Verb,
    #[serde(flatten)]
    pub id: ObjectId,
    /// For all but `delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub body: Option<Body>,
    /// The revision that the client has seen. Needed where the object exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<Match>,
}

/// What is to be done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// It must not exist yet.
    Create,
    /// It is replaced, or made.
    Put,
    /// Some keys are changed: a JSON merge patch (RFC 7396).
    Patch,
    Delete,
}

/// What an object must be for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Match {
    Revision(u64),
    /// `*`: whatever it is.
    Any(Star),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Star {
    #[serde(rename = "*")]
    Star,
}

/// Why a change is refused: as a whole, and nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ChangeRefusal {
    pub kind: RefusalKind,
    pub detail: String,
    /// Every rule that is broken.
    pub violations: Vec<Violation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// There is no such object.
    Missing,
    /// The file, or somebody else, has it.
    Conflict,
    /// It has changed since the client has seen it, or exists already.
    Stale,
    /// The client must say which revision it has seen.
    Unconditional,
    /// It breaks rules.
    Invalid,
    /// This host lacks something for it.
    Unable,
}

impl ChangeRefusal {
    #[must_use]
    pub fn new(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), violations: Vec::new() }
    }

    #[must_use]
    pub fn with(mut self, violations: Vec<Violation>) -> Self {
        self.violations = violations;
        self
    }
}
