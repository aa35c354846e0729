//! The hints for misplaced keys are those that the sections ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::reference::keys;
use crate::config::{
    document,
    text::{
        key_locations::KEY_LOCATIONS,
        reader::{Report, Value},
    },
};

/// Sections by name, with the label of their hint. A section without a hint stands for itself.
const LABELS: &[(&str, &str)] = &[
    ("node", "`[node]`"),
    ("encap", "`[node.encap]`"),
    ("admin", "`[admin]`"),
    ("certificates", "`[[certificates]]`"),
    ("proxy", "`[proxy]`"),
    ("services", "`[[services]]`"),
    ("ports", "an entry of the service's `ports`"),
    ("tls_options", "`tls_options` of an entry of `ports`"),
    ("http_options", "`http_options` of an entry of `ports`"),
    ("response", "`http_options.response` of an entry of `ports`"),
    ("concurrency", "`concurrency`"),
    ("load_balancer", "`load_balancer` or a pool"),
    ("servers", "an entry of `servers`"),
    ("health_check", "`health_check`"),
    ("flow_timeouts", "`flow_timeouts`"),
    ("quic", "`quic`"),
    ("queue", "`queue`"),
    ("syn_flood", "`syn_flood`"),
    ("rate_limit", "`rate_limit`"),
    ("private", "`private`"),
    ("response_forwarding", "`response_forwarding`"),
    ("proxy_proto_options", "`proxy_proto_options` of an entry of `ports`"),
];

/// Words so general that a hint would more often mislead than help.
const WITHOUT_HINT: &[&str] = &[
    "address",
    "direct",
    "headers",
    "hostname",
    "mode",
    "name",
    "path",
    "proxy_proto",
    "response_forwarding",
    "type",
    "udp",
];

/// Keys of two places, one of which is nearly always meant.
const MOSTLY_IN_ONE: &[&str] = &["h2_backend", "soft_limit", "hard_limit"];

/// Every section there is. What is written in it does not matter here.
const EVERY_SECTION: &str = "
[node]
encap = {}
flow_timeouts = {}
[admin]
[[certificates]]
[[certificates]]
directory = 'd'
[proxy]
[regions]
[pools.load_balancer]
servers = [{}]
[[services]]
ports = [{
    tls_options = {},
    http_options = { response = {} },
    proxy_proto_options = {},
    force_https = {},
}]
private = {}
concurrency = {}
limits = {}
queue = {}
load_balancer = { servers = [{}], health_check = {}, response_forwarding = {} }
affinity = {}
flow_timeouts = {}
quic = {}
syn_flood = {}
rate_limit = { per_source = {}, per_service = {} }
";

/// Every key, with the places that ask for it.
fn asked() -> BTreeMap<&'static str, BTreeSet<String>> {
    let report = Report::default();
    let root = document::root(EVERY_SECTION, &report).expect("TOML");
    Value::new("", &root, &report)
        .section(|root| document::config(root, Path::new(""), usize::MAX));
    let mut places = BTreeMap::<_, BTreeSet<_>>::new();
    for (section, key) in report.asked() {
        let label = LABELS.iter().find(|(name, _)| *name == section).map(|(_, label)| *label);
        places.entry(key).or_default().insert(label.map_or(section, str::to_owned));
    }
    places
}

#[test]
fn every_section_is_asked() {
    let asked = asked();
    let missing: Vec<_> = keys().into_iter().filter(|key| !asked.contains_key(&**key)).collect();
    assert!(missing.is_empty(), "add the section of {missing:?} to EVERY_SECTION");
}

#[test]
fn a_hint_names_the_only_place_of_a_key() {
    let asked = asked();
    for (label, keys) in KEY_LOCATIONS {
        for key in *keys {
            let places = asked.get(key).unwrap_or_else(|| panic!("no section asks for `{key}`"));
            assert!(places.contains(*label), "{label} does not ask for `{key}`");
            let is_only = places.len() == 1 || MOSTLY_IN_ONE.contains(key);
            assert!(is_only, "`{key}` has several places: {places:?}");
        }
    }
}

#[test]
fn every_key_with_one_place_has_a_hint() {
    let hinted: BTreeSet<_> = KEY_LOCATIONS.iter().flat_map(|(_, keys)| *keys).copied().collect();
    let has_label = |place: &String| LABELS.iter().any(|(_, label)| label == place);
    let missing: Vec<_> = asked()
        .into_iter()
        .filter(|(key, places)| places.len() == 1 && !hinted.contains(key))
        .filter(|(key, places)| places.iter().any(has_label) && !WITHOUT_HINT.contains(key))
        .collect();
    assert!(missing.is_empty(), "add to KEY_LOCATIONS or to WITHOUT_HINT: {missing:#?}");
}
