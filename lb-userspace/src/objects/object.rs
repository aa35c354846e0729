//! What one object is: its kind and name, and the keys of its table.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The keys of an object, which are those of its TOML table.
pub type Body = serde_json::Map<String, serde_json::Value>;

/// Which table of the configuration an object belongs to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Certificates,
    Pools,
    Services,
}

impl Kind {
    /// Its name in paths of the API and in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::Pools => "pools",
            Self::Services => "services",
        }
    }

    /// One of them, in words.
    #[must_use]
    pub fn singular(self) -> &'static str {
        match self {
            Self::Certificates => "certificate",
            Self::Pools => "pool",
            Self::Services => "service",
        }
    }
}

/// Who may change an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The configuration file, which lb never writes.
    File,
    /// Clients of the API.
    Api,
}

/// The kind and name of an object, unique among those of one owner. As text: `services/web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct ObjectId {
    pub kind: Kind,
    pub name: String,
}

impl ObjectId {
    #[must_use]
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.name)
    }
}

/// An object that clients of the API own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Object {
    #[serde(flatten)]
    pub id: ObjectId,
    /// The change that made it what it is.
    pub revision: u64,
    /// For services with the name, for others without.
    #[schema(value_type = Object)]
    pub body: Body,
}
