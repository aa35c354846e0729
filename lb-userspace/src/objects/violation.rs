//! What is wrong with an object, in a form for programs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::object::ObjectId;

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "owner", rename_all = "lowercase")]
pub enum Place {
    File {
        /// File, line and column, such as `/etc/lb/lb.toml:12:1`.
        place: String,
    },
    Api {
        #[serde(flatten)]
        object: ObjectId,
        /// A JSON pointer into the object (RFC 6901).
        pointer: String,
    },
}

/// One rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Violation {
    pub at: Place,
    pub detail: String,
    /// What would be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The other side of a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts_with: Option<Place>,
}

impl Violation {
    /// A violation of an object as a whole or of a part of it.
    #[must_use]
    pub fn of(object: &ObjectId, pointer: &str, detail: impl Into<String>) -> Self {
        let at = Place::Api { object: object.clone(), pointer: pointer.to_owned() };
        Self { at, detail: detail.into(), help: None, conflicts_with: None }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it lies in the object, or in what the object conflicts with.
    #[must_use]
    pub fn concerns(&self, id: &ObjectId) -> bool {
        self.objects().any(|object| object == id)
    }

    /// The objects of the API that take part in it.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        [Some(&self.at), self.conflicts_with.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(Place::object)
    }
}

impl Place {
    #[must_use]
    pub fn object(&self) -> Option<&ObjectId> {
        match self {
            Self::Api { object, .. } => Some(object),
            Self::File { .. } => None,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { place } => f.write_str(place),
            Self::Api { object, pointer } if pointer.is_empty() => write!(f, "api: {object}"),
            Self::Api { object, pointer } => write!(f, "api: {object} {pointer}"),
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.at, self.detail)
    }
}
