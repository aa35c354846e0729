//! The table of mistakes, and what must hold for any text.

mod hostile;
mod joined;
mod key_locations;
mod node;
mod ports;
mod reference;
mod servers;
mod services;
mod several;
mod steering;
mod valid;

use std::path::Path;

use super::parse;
use crate::settings::Config;

/// A snippet and every mistake that must be reported in it: `line:column message`.
type Row = (&'static str, &'static [&'static str]);

const NODE: &str = "[node]\ninterfaces = ['eth0']\n";
const CERTIFICATES: &str = "[[certificates]]\ncert = 'a.crt'\nkey = 'a.key'\n";

/// `[node]` from its second line on; with an interface where the snippet names none.
fn node(snippet: &str) -> String {
    complete("[node]", snippet, &[("interfaces", "['eth0']")])
}

/// One service from its second line on, with all that the snippet leaves out.
fn service(snippet: &str) -> String {
    let defaults = [
        ("name", "'web'"),
        ("addresses", "['203.0.113.10']"),
        ("ports", "[{ port = 443 }]"),
        ("load_balancer", "{ servers = [{ address = '10.0.0.1:80' }] }"),
    ];
    let service = complete("[[services]]", snippet, &defaults);
    format!("{service}{NODE}{CERTIFICATES}")
}

/// One port of such a service, `{` at line 2, column 10.
fn port(keys: &str) -> String {
    service(&format!("ports = [{{ {keys} }}]"))
}

/// One server of such a service, `{` at line 2, column 30.
fn server(keys: &str) -> String {
    service(&format!("load_balancer = {{ servers = [{{ {keys} }}] }}"))
}

/// Its health check, `{` at line 2, column 30.
fn health_check(keys: &str) -> String {
    let servers = "load_balancer.servers = [{ address = '10.0.0.1:80' }]";
    service(&format!("load_balancer.health_check = {{ {keys} }}\n{servers}"))
}

fn complete(header: &str, snippet: &str, defaults: &[(&str, &str)]) -> String {
    let mut text = format!("{header}\n{snippet}\n");
    for (key, value) in defaults {
        if !snippet.lines().any(|line| line.starts_with(key)) {
            text += &format!("{key} = {value}\n");
        }
    }
    text
}

fn mistakes(text: &str) -> Vec<String> {
    let Err(errors) = parse(Path::new("lb.toml"), text) else {
        return Vec::new();
    };
    let shown = errors.diagnostics().iter().map(|diagnostic| {
        let (line, column) = errors.position(diagnostic);
        format!("{line}:{column} {}", diagnostic.message)
    });
    shown.collect()
}

fn check(rows: &[Row], build: impl Fn(&str) -> String) {
    let wrong = rows.iter().filter_map(|(snippet, expected)| {
        let text = build(snippet);
        let found = mistakes(&text);
        (found != *expected)
            .then(|| format!("in:\n{text}\nexpected: {expected:#?}\nfound: {found:#?}"))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn valid(text: &str) -> Config {
    parse(Path::new("/etc/lb/lb.toml"), text).unwrap_or_else(|errors| panic!("{errors}"))
}
