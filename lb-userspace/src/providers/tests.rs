use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::{Provided, Store};
use crate::objects::{
    Body, ChangeRefusal, Kind, Match, ObjectId, Operation, Order, OrderChange, OrderTarget,
    RefusalKind, Star, Verb,
};

fn body(value: Value) -> Body {
    match value {
        Value::Object(body) => body,
        other => panic!("{other} is no object"),
    }
}

fn operation(op: Verb, name: &str, value: Option<Value>, if_match: Option<u64>) -> Operation {
    Operation {
        op,
        id: ObjectId::new(Kind::Services, name),
        body: value.map(body),
        if_match: if_match.map(Match::Revision),
    }
}

fn put(name: &str, value: Value, if_match: Option<u64>) -> Operation {
    operation(Verb::Put, name, Some(value), if_match)
}

fn changed(before: &Provided, operations: &[Operation]) -> Result<Provided, ChangeRefusal> {
    before.changed(operations, |id| (id.name == "ssh").then(|| "lb.toml:3:1".to_owned()))
}

fn with_web() -> Provided {
    changed(&Provided::default(), &[put("web", json!({"a": {"b": 1, "c": [2]}}), None)]).unwrap()
}

#[test]
fn an_object_is_made_changed_and_removed() {
    let made = with_web();
    let web = |provided: &Provided| provided.get(&ObjectId::new(Kind::Services, "web")).cloned();
    assert_eq!((made.revision(), web(&made).unwrap().revision), (1, 1));
    let patch = json!({"a": {"b": null, "d": {"e": null, "f": 3}}, "g": null});
    let patched = changed(&made, &[operation(Verb::Patch, "web", Some(patch), Some(1))]).unwrap();
    let expected = json!({"name": "web", "a": {"c": [2], "d": {"f": 3}}});
    assert_eq!(web(&patched).unwrap().body, body(expected.clone()));
    assert_eq!(patched.revision(), 2);
    let same = changed(&patched, &[put("web", expected, Some(2))]).unwrap();
    assert_eq!(same, patched, "nothing changed, so neither did the revision");
    let gone = changed(&patched, &[operation(Verb::Delete, "web", None, Some(2))]).unwrap();
    assert_eq!((web(&gone), gone.revision()), (None, 3));
}

/// haproxytech/dataplaneapi#22: of several changes of one version, all were said to have succeeded.
#[test]
fn a_change_needs_the_revision_that_was_seen() {
    let made = with_web();
    let kind = |operation: Operation| changed(&made, &[operation]).map_err(|it| it.kind).err();
    let delete = |name, seen| operation(Verb::Delete, name, None, seen);
    assert_eq!(kind(put("web", json!({}), None)), Some(RefusalKind::Unconditional));
    assert_eq!(kind(put("web", json!({}), Some(0))), Some(RefusalKind::Stale));
    assert_eq!(kind(put("new", json!({}), Some(1))), Some(RefusalKind::Stale));
    assert_eq!(kind(delete("web", None)), Some(RefusalKind::Unconditional));
    assert_eq!(kind(delete("new", Some(1))), Some(RefusalKind::Missing));
    let create = operation(Verb::Create, "web", Some(json!({})), None);
    assert_eq!(kind(create), Some(RefusalKind::Stale));
    let any = Operation { if_match: Some(Match::Any(Star::Star)), ..put("web", json!({}), None) };
    assert_eq!(kind(any), None);
    let (first, second) = (put("web", json!({"x": 1}), Some(1)), put("web", json!({}), Some(1)));
    let after = changed(&made, &[first]).unwrap();
    assert_eq!(changed(&after, &[second]).unwrap_err().kind, RefusalKind::Stale);
}

/// haproxytech/dataplaneapi#212: what the file owns is never written.
#[test]
fn what_the_file_owns_is_not_changed() {
    for operation in [
        put("ssh", json!({}), None),
        operation(Verb::Patch, "ssh", Some(json!({})), None),
        operation(Verb::Delete, "ssh", None, None),
    ] {
        let refused = changed(&with_web(), &[operation]).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Conflict);
        assert!(refused.detail.contains("lb.toml:3:1"), "{refused}");
    }
}

#[test]
fn all_or_nothing() {
    let good = put("new", json!({}), None);
    let made = with_web();
    for (bad, violations) in [
        (put("new", json!({}), None), 1),
        (put("a/b", json!({"name": "c", "list": [null, {"x": [null]}]}), None), 4),
        (operation(Verb::Put, "b", None, None), 1),
    ] {
        let refused = changed(&made, &[good.clone(), bad]).unwrap_err();
        assert_eq!((refused.kind, refused.violations.len()), (RefusalKind::Invalid, violations));
    }
    let both = [good, operation(Verb::Delete, "web", None, Some(1))];
    let after = changed(&made, &both).unwrap();
    assert_eq!((after.revision(), after.objects().len()), (2, 1));
}

#[test]
fn orders_lie_over_what_is_configured_and_end() {
    let target =
        |server: &str| OrderTarget { service: "web".into(), server: server.parse().unwrap() };
    let order =
        |server, until_ms| Order { target: target(server), weight: Some(7), drain: true, until_ms };
    let (one, two) = (order("10.0.0.1:80", Some(1000)), order("10.0.0.2:80", None));
    let given = [OrderChange::Give(one.clone()), OrderChange::Give(two.clone())];
    let given = with_web().ordered(&given).unwrap();
    let (directory, store) = store("orders");
    store.save(&given).unwrap();
    assert_eq!(load(&store), given);
    fs::remove_dir_all(directory).unwrap();
    assert_eq!(given.expired(999), None);
    let left = given.expired(1000).unwrap();
    assert_eq!((left.orders().len(), left.revision()), (1, given.revision() + 1));
    let undone = left.ordered(&[OrderChange::TakeBack(two.target.clone())]).unwrap();
    assert!(undone.orders().is_empty());
    assert_eq!(undone.ordered(&[OrderChange::TakeBack(two.target)]), None);
}

/// caddyserver/caddy#2903, traefik/traefik#6962: what was made by the API was gone after a restart.
#[test]
fn what_was_made_is_there_after_a_restart() {
    let (directory, store) = store("restart");
    assert_eq!(load(&store), Provided::default());
    let mut provided = with_web();
    for number in 0..40 {
        store.save(&provided).unwrap();
        assert_eq!(load(&store), provided);
        let seen = provided.get(&ObjectId::new(Kind::Services, "web")).unwrap().revision;
        provided = changed(&provided, &[put("web", json!({"n": number}), Some(seen))]).unwrap();
    }
    let kept = fs::read_dir(directory.join("api")).unwrap().count();
    assert_eq!(kept, super::store::KEPT);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_revision_that_could_not_be_applied_is_taken_back() {
    let (directory, store) = store("back");
    let first = with_web();
    store.save(&first).unwrap();
    let second = changed(&first, &[put("new", json!({}), None)]).unwrap();
    store.save(&second).unwrap();
    store.take_back(&second).unwrap();
    assert_eq!(load(&store), first);
    fs::write(directory.join("api/7.json"), "{").unwrap();
    let (found, damaged) = store.load().unwrap();
    assert_eq!((found.objects(), found.revision()), (first.objects(), 7));
    assert!(damaged[0].to_string().contains("7.json is damaged"), "{damaged:?}");
    fs::remove_dir_all(directory).unwrap();
}

fn load(store: &Store) -> Provided {
    let (provided, damaged) = store.load().unwrap();
    assert!(damaged.is_empty(), "{damaged:?}");
    provided
}

fn store(name: &str) -> (PathBuf, Store) {
    let directory = std::env::temp_dir().join(format!("lb-api-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    let store = Store::new(&directory);
    (directory, store)
}
