use std::path::Path;

use super::{CERTIFICATES, NODE, Row, check};
use crate::config::parse;

/// Two services of four lines each: `a` from line 1, `b` from line 5. `|` parts what is their own.
fn two(snippet: &str) -> String {
    let (a, b) = snippet.split_once(" | ").expect("two services");
    let service = |name: &str, keys: &str| {
        let servers = "load_balancer.servers = [{ address = '10.0.0.1:80' }]";
        format!("[[services]]\nname = '{name}'\n{keys}\n{servers}\n")
    };
    format!("{}{}{NODE}{CERTIFICATES}", service("a", a), service("b", b))
}

#[test]
fn services_do_not_claim_the_same() {
    // Columns are those of one line: dotted keys keep a service's own words on it.
    check(ROWS, |snippet| {
        two(&snippet.replace("; ", "\n").replace('@', "addresses = ['203.0.113.1']"))
    });
}

const ROWS: &[Row] = &[
    ("@; ports = [{ port = 80 }] | @; ports = [{ port = 81 }]", &[]),
    ("@; ports = [{ port = 53 }] | @; ports = [{ port = 53 }]; protocol = 'udp'", &[]),
    (
        "@; ports = [{ port = 80 }] | @; ports = [{ port = 80 }]",
        &["8:14 203.0.113.1:80/tcp already belongs to service `a`"],
    ),
    (
        "@; ports = [{ port = 80, handlers = ['http'] }]; hostnames = ['a'] | @; ports = [{ port = 80, handlers = ['http'] }]; hostnames = ['b']; private.networks = ['fd00::/8']",
        &["9:14 203.0.113.1:80/tcp is not private in the same way in service `a`"],
    ),
    (
        "@; ports = [{ port = 80 }] | @; ports = [{ port = 80, handlers = ['http'] }]",
        &["9:19 203.0.113.1:80/tcp has handler `http` here, and no handlers in service `a`"],
    ),
    (
        "@; ports = [{ port = 80, handlers = ['tls'] }] | @; ports = [{ port = 80, handlers = ['tls', 'http'] }]",
        &["8:14 every host name on 203.0.113.1:80/tcp already belongs to service `a`"],
    ),
    (
        "@; ports = [{ port = 80, handlers = ['http'] }] | @; ports = [{ port = 80, handlers = ['http'] }]",
        &["8:14 every host name on 203.0.113.1:80/tcp already belongs to service `a`"],
    ),
    (
        "@; hostnames = ['x.y']; ports = [{ port = 80, handlers = ['http'] }] | @; hostnames = ['z', 'X.y']; ports = [{ port = 80, handlers = ['http'] }]",
        &["10:19 `x.y` on 203.0.113.1:80/tcp already belongs to service `a`"],
    ),
    (
        "@; hostnames = ['*.y']; ports = [{ port = 80, handlers = ['http'] }] | @; hostnames = ['x.y']; ports = [{ port = 80, handlers = ['http'] }]",
        &[],
    ),
    (
        "@; ports = [{ port = 80, handlers = ['http'] }] | @; hostnames = ['x.y']; ports = [{ port = 80, handlers = ['http'] }]",
        &[],
    ),
    (
        "addresses = ['203.0.113.2', '203.0.113.1']; ports = [{ port = 1 }, { port = 2 }] | @; ports = [{ port = 2 }, { port = 1 }]",
        &["8:14 203.0.113.1:2/tcp already belongs to service `a`"],
    ),
    (
        "@; ports = [{ start_port = 1, end_port = 99 }] | @; ports = [{ port = 99 }]",
        &["8:14 203.0.113.1:99/tcp already belongs to service `a`"],
    ),
    (
        "@; ports = [{ start_port = 1, end_port = 99 }] | @; ports = [{ start_port = 100, end_port = 101 }]",
        &[],
    ),
    (
        "addresses = ['10.0.0.1']; ports = [{ port = 1 }] | @; ports = [{ port = 2 }]",
        &[
            "5:38 `10.0.0.1` is a service's own address, not a server's",
            "10:38 `10.0.0.1` is a service's own address, not a server's",
        ],
    ),
    (
        "@; ports = [{ port = 80 }] | @; ports = [{ port = 80 }]; protocol = 'upd'",
        &["10:12 `upd` is not a value of `protocol`"],
    ),
];

#[test]
fn pools_are_found_by_name() {
    let with_pool = |keys: &str| {
        let service = |name, address| {
            format!(
                "[[services]]\nname = '{name}'\naddresses = ['{address}']\n\
                 ports = [{{ port = 80 }}]\n{keys}\n"
            )
        };
        let services = service("a", "203.0.113.1") + &service("b", "203.0.113.2");
        format!("{services}[pools.web]\nservers = [{{ address = '10.0.0.1' }}]\n{NODE}")
    };
    let rows: &[Row] = &[
        ("pool = 'web'\ninternal_port = 80", &[]),
        ("pool = 'wbe'", &["5:8 there is no pool `wbe`", "10:8 there is no pool `wbe`"]),
        (
            "pool = 'web'",
            &[
                "12:24 server `10.0.0.1` has no port, and its service no `internal_port`",
                "12:24 server `10.0.0.1` has no port, and its service no `internal_port`",
            ],
        ),
        (
            "pool = 5",
            &[
                "5:8 `pool` must be text in quotes, found a whole number",
                "10:8 `pool` must be text in quotes, found a whole number",
            ],
        ),
    ];
    check(rows, with_pool);
}

#[test]
fn services_have_different_names() {
    let service = |address| {
        format!(
            "[[services]]\nname = 'web'\naddresses = ['{address}']\nports = [{{ port = 80 }}]\n\
             load_balancer.servers = [{{ address = '10.0.0.1:80' }}]\n"
        )
    };
    let text = service("203.0.113.1") + &service("203.0.113.2") + NODE;
    check(&[("", &["7:8 service `web` is given twice"])], |_| text.clone());
}

#[test]
fn ten_independent_mistakes_are_told_at_once() {
    let text = "\
[node]
interfaces = []
region = 5
[proxy]
dial_timeout = '0s'
[[services]]
name = 'a'
protocl = 'tcp'
addresses = ['127.0.0.1']
ports = [{ port = 443, handlers = ['http', 'pg_tls'] }]
load_balancer = { strategy = 'randm', servers = [{ address = '10.0.0.1:80', weight = -1 }] }
[[services]]
name = 'b'
addresses = ['203.0.113.9']
ports = [{ port = 80, force_https = true }]
pool = 'c'
";
    let expected: &[&str] = &[
        "2:14 `interfaces` is empty",
        "3:10 `region` must be text in quotes, found a whole number",
        "5:16 `dial_timeout` must not be zero or shorter than a millisecond",
        "8:1 unknown key `protocl` in `services`",
        "9:14 `127.0.0.1` is a loopback address",
        "10:35 `http` and `pg_tls` do not go together",
        "11:30 `randm` is not a value of `strategy`",
        "11:86 `weight` must be a whole number from 0 to 65535, found -1",
        "15:23 `force_https` on a port without the `http` handler",
        "16:8 there is no pool `c`",
    ];
    check(&[("", expected)], |_| text.to_owned());
}

#[test]
fn a_mistake_is_shown_with_file_line_column_and_both_places() {
    let text = "\
# Services
[[services]]
name = 'web'
addresses = ['203.0.113.1']
ports = [{ port = 80 }]
load_balancer.servers = [{ address = '10.0.0.1:80' }]

[[services]]
name = 'wéb'
addresses = ['203.0.113.1']
ports = [{ port = 80 }]
load_balancer.servers = [{ address = '10.0.0.1:80' }]
[node]
interfaces = ['eth0']
";
    let shown = "\
error: `wéb` in `name` is not a name
 --> lb.toml:9:8
  |
9 | name = 'wéb'
  |        ^^^^^
  |
  = help: write 1 to 63 letters, digits, `-`, `_` or `.`, beginning with a letter or digit

error: 203.0.113.1:80/tcp already belongs to service `web`
  --> lb.toml:10:14
   |
 4 | addresses = ['203.0.113.1']
   |              ------------- first claimed here
...
10 | addresses = ['203.0.113.1']
   |              ^^^^^^^^^^^^^
   |
   = help: use another address or port: only `tls` and `http` can share one by host name";
    let errors = parse(Path::new("lb.toml"), text).expect_err("two mistakes");
    assert_eq!(errors.to_string(), shown);
}
