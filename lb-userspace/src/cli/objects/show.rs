//! Objects for people.

use serde_json::Value;

use crate::{
    admin::client::Found,
    cli::table::columns::{Align, Columns},
    objects::{Body, Kind, Listed, ObjectId, ObjectState, Owner},
};

pub(super) fn list(kind: Kind, items: &[Listed]) -> String {
    let what = match kind {
        Kind::Services => ["ADDRESSES", "PORTS", "SERVERS"],
        Kind::Pools => ["STRATEGY", "SERVERS", ""],
        Kind::Certificates => ["CERTIFICATE", "KEY", ""],
    };
    let head = ["NAME", "OWNER", "STATE", what[0], what[1], what[2]];
    let mut columns = Columns::new(head.map(|name| (name, Align::Left)));
    for item in items {
        let [first, second, third] = cells(kind, &item.object);
        let owner = match (item.owner, &item.place) {
            (Owner::Api, _) => "api".to_owned(),
            (Owner::File, place) => place.clone().unwrap_or_else(|| "file".to_owned()),
        };
        let state = match (item.state, &item.because) {
            (ObjectState::Active, _) => "active".to_owned(),
            (ObjectState::Shadowed, _) => "shadowed".to_owned(),
            (ObjectState::Unfit, why) => {
                why.as_ref().map_or_else(|| "unfit".to_owned(), |why| format!("unfit: {why}"))
            }
        };
        columns.add([item.name.clone(), owner, state, first, second, third]);
    }
    let mut text = String::new();
    columns.write(&mut text, "", |_| false).expect("a String takes everything");
    text
}

pub(super) fn heading(id: &ObjectId, found: &Found) -> String {
    let place = found.place.as_deref().map_or_else(String::new, |place| format!(" ({place})"));
    let (owner, state, revision) = (&found.owner, &found.state, found.tag.trim_matches('"'));
    format!("{id}: of the {owner}{place}, {state}, revision {revision}")
}

fn cells(kind: Kind, body: &Body) -> [String; 3] {
    let text = |key: &str| body.get(key).map_or_else(String::new, plain);
    match kind {
        Kind::Services => {
            let ports = items(body.get("ports")).map(port).collect::<Vec<_>>().join(", ");
            let servers = body.get("load_balancer").and_then(|it| it.get("servers"));
            let servers = match text("pool") {
                pool if pool.is_empty() => items(servers).count().to_string(),
                pool => format!("pool {pool}"),
            };
            let addresses = items(body.get("addresses")).map(plain).collect::<Vec<_>>();
            [addresses.join(", "), ports, servers]
        }
        Kind::Pools => {
            let servers = items(body.get("servers")).count().to_string();
            [text("strategy"), servers, String::new()]
        }
        Kind::Certificates => {
            let directory = text("directory");
            match directory.is_empty() {
                true => [text("cert"), text("key"), String::new()],
                false => [directory, "(all in it)".to_owned(), String::new()],
            }
        }
    }
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The words that `create --port` takes.
fn port(port: &Value) -> String {
    let number = port.get("port").map_or_else(String::new, plain);
    let handlers: Vec<_> = items(port.get("handlers")).map(plain).collect();
    match &handlers[..] {
        [] => number,
        handlers => format!("{number}/{}", handlers.join("+")),
    }
}
