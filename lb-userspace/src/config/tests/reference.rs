//! docs/configuration.md tells the truth.

use std::{fs, path::Path};

use super::valid;

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

/// Keys are read by calls such as `section.optional("key", …)`.
#[test]
fn every_key_is_in_the_reference() {
    let calls = ["optional(", "required(", " or(", "limit(", "threshold(", "access_list(service, "];
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let mut keys = Vec::new();
    for entry in fs::read_dir(sources).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let source = fs::read_to_string(path).expect("a source");
            for rest in calls.iter().flat_map(|call| source.split(call).skip(1)) {
                let argument = rest.trim_start().strip_prefix('"');
                keys.extend(argument.and_then(|it| it.split('"').next()).map(str::to_owned));
            }
        }
    }
    assert!(keys.len() > 50, "only {} keys found", keys.len());
    for key in keys {
        let is_table = ["node", "admin", "proxy", "pools", "services", "certificates", "regions"];
        if !is_table.contains(&key.as_str()) {
            assert!(REFERENCE.contains(&format!("| `{key}` |")), "`{key}` is missing");
        }
    }
}
