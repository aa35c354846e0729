use std::path::Path;

use crate::{change::plan, config, settings::Config};

const NODE: &str = "[node]\ninterfaces = ['eth0']\n";
const WEB: &str = r#"
[[services]]
name = "web"
addresses = ["203.0.113.1"]
ports = [{ port = 80, handlers = ["http"] }, { port = 443, handlers = ["http"] }]
load_balancer.servers = [{ address = "10.0.0.1:80" }, { address = "10.0.0.2:80" }]
"#;
const SSH: &str = r#"
[[services]]
name = "ssh"
addresses = ["203.0.113.2"]
ports = [{ port = 22 }]
load_balancer.servers = [{ address = "10.0.0.9:22" }]
"#;

fn config(text: &str) -> Config {
    config::parse(Path::new("lb.toml"), text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What `lb diff` would say, with 7 connections to each server.
fn sentences(before: &str, after: &str) -> Vec<String> {
    plan(&config(before), &config(after)).sentences(|_, _| 7)
}

#[test]
fn what_stays_is_not_mentioned() {
    let both = format!("{NODE}{WEB}{SSH}");
    let other_order = format!("{NODE}{SSH}{WEB}");
    assert!(plan(&config(&both), &config(&other_order)).is_empty());
}

#[test]
fn services_come_and_go() {
    let (one, both) = (format!("{NODE}{WEB}"), format!("{NODE}{WEB}{SSH}"));
    assert_eq!(sentences(&one, &both), ["ssh: added, with 1 backend at 203.0.113.2, port 22"]);
    assert_eq!(sentences(&both, &one), ["ssh: removed, 7 connections end"]);
    let (web, none) = (format!("{NODE}{WEB}"), NODE.to_owned());
    assert_eq!(sentences(&web, &none), ["web: removed, 14 connections go on until they end"]);
}

#[test]
fn a_change_is_told_in_words() {
    let web = |servers: &str, more: &str| {
        let servers = format!("load_balancer.servers = [{servers}]\n{more}");
        let (head, _) = WEB.split_once("load_balancer").unwrap();
        format!("{NODE}{head}{servers}")
    };
    let before = web("{ address = '10.0.0.1:80' }, { address = '10.0.0.2:80' }", "");
    for (servers, more, expected) in [
        (
            "{ address = '10.0.0.1:80' }, { address = '10.0.0.2:80' }, { address = '10.0.0.3:80' }",
            "",
            "web: 1 backend added (10.0.0.3:80)",
        ),
        (
            "{ address = '10.0.0.1:80' }",
            "",
            "web: 1 backend removed (10.0.0.2:80), 7 connections go on until they end",
        ),
        (
            "{ address = '10.0.0.1:80', weight = 5 }, { address = '10.0.0.2:80', drain = true }",
            "",
            "web: backend 10.0.0.1:80: weight 5 instead of 1; backend 10.0.0.2:80: drains",
        ),
        (
            "{ address = '10.0.0.2:80' }, { address = '10.0.0.1:80' }",
            "",
            "web: the order of its backends changed",
        ),
        (
            "{ address = '10.0.0.1:80' }, { address = '10.0.0.2:80' }",
            "hostnames = ['a.example']\n",
            "web: hostnames a.example instead of none",
        ),
        (
            "{ address = '10.0.0.1:80' }, { address = '10.0.0.2:80' }",
            "load_balancer.strategy = 'wrr'\nqueue.length = 5\n",
            "web: strategy wrr instead of p2c; queue changed",
        ),
    ] {
        assert_eq!(sentences(&before, &web(servers, more)), [expected]);
    }
    let other_port = before.replace("port = 443", "port = 8443");
    assert_eq!(sentences(&before, &other_port), ["web: port 8443 added, port 443 removed"]);
}

#[test]
fn a_setting_says_how_it_takes_effect() {
    let settings = |text: &str| config(text);
    let before = settings(NODE);
    let after = format!(
        "{NODE}max_flows = 4096\nmaglev_table_size = 8191\n[proxy]\nidle_timeout = '90s'\n"
    );
    let change = plan(&before, &settings(&after));
    assert_eq!(
        change.sentences(|_, _| 0),
        [
            "[node] max_flows: 4096 instead of 262144, which a restart takes over",
            "[node] maglev_table_size: 8191 instead of none",
            "[node] max_half_open: 1024 instead of 32768, which a restart takes over",
            "[proxy] idle_timeout: 1m 30s instead of 1m, for new connections",
        ]
    );
    assert_eq!(change.needing_restart().count(), 2);
    assert!(!change.needs_process());
    let workers = plan(&before, &settings(&format!("{NODE}workers = 3\n")));
    let said = "[node] workers: 3 instead of none, by a new process that takes this one's place";
    assert_eq!(workers.sentences(|_, _| 0), [said]);
    assert!(workers.needs_process() && workers.needing_restart().next().is_none());
}
