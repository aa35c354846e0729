//! JSON merge patches (RFC 7396).

use serde_json::Value;

use crate::objects::Body;

/// Changes `body`: what is `null` in `patch` goes, tables are changed inside, all else is replaced.
pub(super) fn merge(body: &mut Body, patch: Body) {
    for (key, value) in patch {
        match (value, body.get_mut(&key)) {
            (Value::Null, _) => drop(body.remove(&key)),
            (Value::Object(patch), Some(Value::Object(inner))) => merge(inner, patch),
            (Value::Object(patch), _) => {
                let mut made = Body::new();
                merge(&mut made, patch);
                body.insert(key, Value::Object(made));
            }
            (value, _) => drop(body.insert(key, value)),
        }
    }
}
