//! The objects that clients of the API made, and how operations change them.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::merge_patch::merge;
use crate::objects::{
    Body, ChangeRefusal, Kind, Match, Object, ObjectId, Operation, Order, OrderChange, OrderTarget,
    RefusalKind, Verb, Violation,
};

/// What clients of the API made. A change makes another one of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provided {
    /// Grows with each change of anything.
    revision: u64,
    objects: BTreeMap<ObjectId, Arc<Object>>,
    orders: BTreeMap<OrderTarget, Arc<Order>>,
}

/// The same in the store.
#[derive(Serialize, Deserialize)]
pub(super) struct Snapshot {
    revision: u64,
    objects: Vec<Object>,
    #[serde(default)]
    orders: Vec<Order>,
}

impl Provided {
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The objects by kind and name.
    #[must_use]
    pub fn objects(&self) -> Vec<Arc<Object>> {
        self.objects.values().cloned().collect()
    }

    /// The orders by service and server.
    #[must_use]
    pub fn orders(&self) -> Vec<Arc<Order>> {
        self.orders.values().cloned().collect()
    }

    /// Gives orders and takes orders back, as the same revision. `None`: there is no such order.
    #[must_use]
    pub fn ordered(&self, changes: &[OrderChange]) -> Option<Self> {
        let mut next = self.clone();
        for change in changes {
            match change {
                OrderChange::Give(order) => {
                    next.orders.insert(order.target.clone(), Arc::new(order.clone()));
                }
                OrderChange::TakeBack(target) => drop(next.orders.remove(target)?),
            }
        }
        Some(next)
    }

    /// Without the orders that have ended by `now_ms`. `None`: none has.
    #[must_use]
    pub fn expired(&self, now_ms: u64) -> Option<Self> {
        let stands = |order: &Order| order.until_ms.is_none_or(|until| until > now_ms);
        if self.orders.values().all(|order| stands(order)) {
            return None;
        }
        let mut next = self.advanced();
        next.orders.retain(|_, order| stands(order));
        Some(next)
    }

    #[must_use]
    pub fn get(&self, id: &ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(id)
    }

    /// The same, whose revision is at least this one.
    pub(super) fn at_least(self, revision: u64) -> Self {
        Self { revision: self.revision.max(revision), ..self }
    }

    /// Counts a change of another owner's objects.
    #[must_use]
    pub fn advanced(&self) -> Self {
        Self { revision: self.revision + 1, ..self.clone() }
    }

    /// Carries out all `operations` as one revision. `in_file` says where the file has an object
    /// of that name.
    ///
    /// # Errors
    /// One of them is refused, so none is carried out. Those that break rules are named together.
    pub fn changed(
        &self,
        operations: &[Operation],
        in_file: impl Fn(&ObjectId) -> Option<String>,
    ) -> Result<Self, ChangeRefusal> {
        let mut next = self.advanced();
        let mut violations = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            let id = &operation.id;
            if operations[..number].iter().any(|earlier| earlier.id == *id) {
                violations.push(Violation::of(id, "", "two operations on one object"));
            }
            let before = self.get(id);
            if let Some(place) = in_file(id).filter(|_| operation.op != Verb::Delete) {
                return Err(owned_by_file(id, &place));
            }
            if before.is_none() && operation.op == Verb::Delete && in_file(id).is_some() {
                let place = in_file(id).unwrap_or_default();
                return Err(owned_by_file(id, &place));
            }
            check_condition(operation, before)?;
            match operation.result(before) {
                Ok(Some(body)) if before.is_some_and(|before| before.body == body) => {}
                Ok(Some(body)) => {
                    let object = Object { id: id.clone(), revision: next.revision, body };
                    next.objects.insert(id.clone(), Arc::new(object));
                }
                Ok(None) => drop(next.objects.remove(id)),
                Err(broken) => violations.extend(broken),
            }
        }
        if !violations.is_empty() {
            let detail = "the change breaks rules, and nothing was changed";
            return Err(ChangeRefusal::new(RefusalKind::Invalid, detail).with(violations));
        }
        if next.objects == self.objects {
            next.revision = self.revision;
        }
        Ok(next)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let objects = self.objects.values().map(|object| Object::clone(object)).collect();
        let orders = self.orders.values().map(|order| Order::clone(order)).collect();
        Snapshot { revision: self.revision, objects, orders }
    }
}

impl From<Snapshot> for Provided {
    fn from(snapshot: Snapshot) -> Self {
        let objects = snapshot.objects.into_iter();
        let objects = objects.map(|object| (object.id.clone(), Arc::new(object))).collect();
        let orders = snapshot.orders.into_iter();
        let orders = orders.map(|order| (order.target.clone(), Arc::new(order))).collect();
        Self { revision: snapshot.revision, objects, orders }
    }
}

fn owned_by_file(id: &ObjectId, place: &str) -> ChangeRefusal {
    let detail = format!("the file owns {id}: change it at {place}, then `lb reload`");
    let violation = Violation {
        conflicts_with: Some(crate::objects::Place::File { place: place.to_owned() }),
        ..Violation::of(id, "", format!("the file has a {} of this name", id.kind.singular()))
    };
    ChangeRefusal::new(RefusalKind::Conflict, detail).with(vec![violation])
}

/// A client may change only what it has seen.
fn check_condition(
    operation: &Operation,
    before: Option<&Arc<Object>>,
) -> Result<(), ChangeRefusal> {
    let Operation { op, id, if_match, .. } = operation;
    match (op, before, if_match) {
        (Verb::Put | Verb::Create, None, None) => Ok(()),
        (Verb::Patch | Verb::Delete, None, _) => {
            Err(ChangeRefusal::new(RefusalKind::Missing, format!("there is no {id}")))
        }
        (_, None, Some(_)) => Err(ChangeRefusal::new(
            RefusalKind::Stale,
            format!("{id} is to be changed, but there is none"),
        )),
        (Verb::Create, Some(_), _) => {
            Err(ChangeRefusal::new(RefusalKind::Stale, format!("{id} exists already")))
        }
        (_, Some(_), Some(Match::Any(_))) => Ok(()),
        (_, Some(object), Some(Match::Revision(seen))) if object.revision == *seen => Ok(()),
        (_, Some(object), Some(Match::Revision(seen))) => {
            let now = object.revision;
            let detail = format!("{id} has changed: it is of revision {now}, not {seen} any more");
            Err(ChangeRefusal::new(RefusalKind::Stale, detail))
        }
        (_, Some(object), None) => {
            let detail = format!(
                "{id} exists: say which revision you have seen, such as `If-Match: \"{}\"`",
                object.revision
            );
            Err(ChangeRefusal::new(RefusalKind::Unconditional, detail))
        }
    }
}

impl Operation {
    /// What the object is after it. `None`: gone.
    fn result(&self, before: Option<&Arc<Object>>) -> Result<Option<Body>, Vec<Violation>> {
        let id = &self.id;
        if self.op == Verb::Delete {
            return match self.body {
                None => Ok(None),
                Some(_) => Err(vec![Violation::of(id, "", "`delete` has no body")]),
            };
        }
        let Some(body) = self.body.clone() else {
            return Err(vec![Violation::of(id, "", "the operation has no body")]);
        };
        let mut result = match (self.op, before) {
            (Verb::Patch, Some(before)) => before.body.clone(),
            _ => Body::new(),
        };
        merge(&mut result, body);
        let mut violations = Vec::new();
        refuse_nulls(id, &result, "", &mut violations);
        violations.extend(name(id, &mut result));
        if violations.is_empty() { Ok(Some(result)) } else { Err(violations) }
    }
}

/// The path names the object; the body may do so too, and that of a service always does.
fn name(id: &ObjectId, body: &mut Body) -> Vec<Violation> {
    let mut violations = Vec::new();
    if !is_name(&id.name) {
        let message = format!("`{}` is not a name", id.name);
        violations.push(Violation::of(id, "/name", message).help(NAME_RULE));
    }
    match body.remove("name") {
        Some(name) if name != id.name.as_str() => {
            let message = format!("the path says `{}`, and the body {name}", id.name);
            let help = "an object keeps its name: make another, and remove this one";
            violations.push(Violation::of(id, "/name", message).help(help));
        }
        _ => {}
    }
    if id.kind == Kind::Services {
        body.insert("name".to_owned(), id.name.clone().into());
    }
    violations
}

const NAME_RULE: &str =
    "use 1 to 63 letters, digits, `-`, `_` or `.`, beginning with a letter or digit";

fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(inner)
}

/// A key without a value is left out; an item of a list cannot be.
fn refuse_nulls(id: &ObjectId, body: &Body, pointer: &str, violations: &mut Vec<Violation>) {
    for (key, value) in body {
        let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        refuse_null(id, value, &pointer, violations);
    }
}

fn refuse_null(id: &ObjectId, value: &Value, pointer: &str, violations: &mut Vec<Violation>) {
    match value {
        Value::Null => {
            violations.push(Violation::of(id, pointer, "`null` in a list").help("remove it"));
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                refuse_null(id, item, &format!("{pointer}/{number}"), violations);
            }
        }
        Value::Object(inner) => refuse_nulls(id, inner, pointer, violations),
        _ => {}
    }
}
