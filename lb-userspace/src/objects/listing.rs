//! All objects of the configuration as clients see them, with their owners.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    object::{Body, Kind, ObjectId, Owner},
    order::Order,
    violation::Violation,
};

/// The objects of every owner, at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    pub revision: u64,
    pub orders: Vec<Arc<Order>>,
    objects: BTreeMap<ObjectId, Vec<Listed>>,
}

/// An object, and whether it is part of the running configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Listed {
    pub name: String,
    pub owner: Owner,
    /// The change that made it what it is.
    pub revision: u64,
    pub state: ObjectState,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Violation>,
    /// Where the file has it: file, line and column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    #[schema(value_type = Object)]
    pub object: Body,
}

/// Whether an object is part of the running configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectState {
    Active,
    /// The file has the same name, or the same address, port and host name: it comes back when the
    /// file lets go.
    Shadowed,
    /// It does not fit into the configuration as it is now.
    Unfit,
}

impl Listing {
    #[must_use]
    pub fn at(revision: u64) -> Self {
        Self { revision, ..Self::default() }
    }

    /// Adds an object. That of the file comes first where several have one name.
    pub fn add(&mut self, kind: Kind, listed: Listed) {
        let entry = self.objects.entry(ObjectId::new(kind, listed.name.clone())).or_default();
        match listed.owner {
            Owner::File => entry.insert(0, listed),
            Owner::Api => entry.push(listed),
        }
    }

    /// Returns the object that counts under this name, or that of one owner.
    #[must_use]
    pub fn get(&self, id: &ObjectId, owner: Option<Owner>) -> Option<&Listed> {
        let mut found = self.objects.get(id)?.iter();
        found.find(|listed| owner.is_none_or(|owner| listed.owner == owner))
    }

    /// All of one kind, in the order of their names.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Listed> {
        let found = self.objects.iter().filter(move |(id, _)| id.kind == kind);
        found.flat_map(|(_, listed)| listed)
    }
}
