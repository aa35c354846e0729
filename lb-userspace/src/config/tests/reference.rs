//! docs/configuration.md tells the truth.

use std::{fs, path::Path};

use super::{port, service, valid};
use crate::config::parse;

const REFERENCE: &str = include_str!("../../../../docs/configuration.md");

#[test]
fn every_example_of_the_reference_is_valid() {
    let blocks = REFERENCE.split("```toml\n").skip(1);
    let examples: Vec<_> = blocks.filter_map(|block| block.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        valid(example);
    }
}

#[test]
fn every_key_is_in_the_reference() {
    let keys = keys();
    assert!(keys.len() > 50, "only {} keys found", keys.len());
    for key in keys {
        let is_table = ["node", "admin", "proxy", "pools", "services", "certificates", "regions"];
        if !is_table.contains(&key.as_str()) {
            assert!(REFERENCE.contains(&format!("| `{key}` |")), "`{key}` is missing");
        }
    }
}

#[test]
fn a_key_in_the_wrong_place_is_shown_its_own() {
    for (text, help) in [
        (service("h2_backend = true"), "`h2_backend` belongs to `http_options` of an entry"),
        (port("port = 80, handlers = ['http'], h2Backend = true"), "`h2_backend` belongs to"),
        (service("strategy = 'p2c'"), "`strategy` belongs to `load_balancer` or a pool"),
        (service("hostnmaes = ['a.b']"), "did you mean `hostnames`?"),
    ] {
        let errors = parse(Path::new("lb.toml"), &text).expect_err("a mistake").to_string();
        assert!(errors.contains(help), "{errors}");
    }
}

/// Keys are read by calls such as `section.optional("key", …)`.
pub(super) fn keys() -> Vec<String> {
    let mut keys = Vec::new();
    keys_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config"), &mut keys);
    keys
}

fn keys_below(directory: &Path, keys: &mut Vec<String>) {
    let calls = ["optional(", "required(", " or(", "limit(", "threshold(", "access_list(service, "];
    for entry in fs::read_dir(directory).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("tests") {
            keys_below(&path, keys);
        } else if path.is_file() {
            let source = fs::read_to_string(path).expect("a source");
            for rest in calls.iter().flat_map(|call| source.split(call).skip(1)) {
                let argument = rest.trim_start().strip_prefix('"');
                keys.extend(argument.and_then(|it| it.split('"').next()).map(str::to_owned));
            }
        }
    }
}
