use super::{NODE, Row, check, mistakes, service};

#[test]
fn mistakes_in_a_service_are_told() {
    check(ROWS, service);
}

const ROWS: &[Row] = &[
    ("", &[]),
    ("name = 'a/b'", &["2:8 `a/b` in `name` is not a name"]),
    ("protocol = 'sctp'", &["2:12 `sctp` is not a value of `protocol`"]),
    ("forwarding = 'nat'", &[]),
    ("forwarding = 'gre'", &["2:14 `gre` is not a value of `forwarding`"]),
    ("internal_prot = 80", &["2:1 unknown key `internal_prot` in `services`"]),
    ("addresses = []", &["2:13 `addresses` is empty"]),
    (
        "addresses = ['0.0.0.0', '224.0.0.1', '127.0.0.1', '::1', 'fe80::1', 'web', '203.0.113.1:80']",
        &[
            "2:14 `0.0.0.0` is the unspecified address",
            "2:25 `224.0.0.1` is a multicast address",
            "2:38 `127.0.0.1` is a loopback address",
            "2:51 `::1` is a loopback address",
            "2:58 `fe80::1` is a link-local address",
            "2:69 `web` is not an IP address",
            "2:76 `203.0.113.1:80` is not an IP address",
        ],
    ),
    ("addresses = ['203.0.113.1', '203.0.113.1']", &["2:29 address `203.0.113.1` is given twice"]),
    (
        "addresses = ['203.0.113.1', '2001:db8::1']",
        &["2:29 no server has an IPv6 address to steer port 443 to"],
    ),
    (
        "addresses = ['203.0.113.1', '2001:db8::1']\nports = [{ port = 80, handlers = ['http'] }]",
        &[],
    ),
    (
        "addresses = ['2001:db8::1']\nload_balancer.servers = [{ address = '10.0.0.1:0' }]",
        &["3:38 `10.0.0.1:0` has port 0"],
    ),
    ("ports = []", &["2:9 `ports` is empty"]),
    ("ports = [{ port = 80 }, { port = 80 }]", &["2:34 port `80` is given twice"]),
    (
        "protocol = 'udp'\nports = [{ port = 80, handlers = ['http'] }, { port = 81, handlers = [] }]",
        &["3:23 handlers on a UDP service: they act on TCP connections"],
    ),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\nprivate = { interfaces = ['wg0'], networks = ['fd00::/8', '10.0.0.1'] }",
        &[],
    ),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\nlimits = {}\nqueue = { length = 0, timeout = '1s' }",
        &[],
    ),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\nlimits = { soft_limit = 3, hard_limit = 2 }",
        &["3:25 `soft_limit` is above `hard_limit`"],
    ),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\nlimits = { soft_limit = 0, hard_limit = 65536 }",
        &[
            "3:25 `soft_limit` must be a whole number from 1 to 65535, found 0",
            "3:41 `hard_limit` must be a whole number from 1 to 65535, found 65536",
        ],
    ),
    (
        "limits = {}\nqueue = {}",
        &[
            "2:10 `limits` on a service whose ports have no handlers",
            "3:9 `queue` on a service whose ports have no handlers",
        ],
    ),
    ("private = {}", &["2:11 `private` says neither `interfaces` nor `networks`"]),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\nprivate = { networks = ['fd00::1/8', '10.0.0', '10.0.0.0/8', '10.0.0.0/8'] }",
        &[
            "3:25 `fd00::1/8` has bits set beyond its prefix",
            "3:38 `10.0.0` is not a network",
            "3:62 network `10.0.0.0/8` is given twice",
        ],
    ),
    (
        "ports = [{ port = 1, handlers = ['tls'] }, { port = 2, handlers = ['http'], force_https = true }, { port = 3 }]\nprivate.interfaces = ['wg0']",
        &[
            "2:22 port 1 of a private service ends TLS",
            "2:56 port 2 of a private service redirects to https",
            "2:108 port 3 of a private service has no handlers",
        ],
    ),
    (
        "hostnames = ['a.example']",
        &[
            "2:1 `hostnames` on a service whose ports have none of `tls`, `pg_tls`, `http`: no name is seen there",
        ],
    ),
    (
        "hostnames = []",
        &[
            "2:1 `hostnames` on a service whose ports have none of `tls`, `pg_tls`, `http`: no name is seen there",
            "2:13 `hostnames` is empty",
        ],
    ),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\nhostnames = ['A.example', '*.a.example', 'a.example']",
        &["3:42 host name `a.example` is given twice"],
    ),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\n\
         hostnames = ['a.*.b', '*', '-a', 'a..b', 'ä.b', 'a:80', '10.0.0.1', 'a.', 'w*.a']",
        &[
            "3:14 `a.*.b` is not a host name",
            "3:23 `*` is not a host name",
            "3:28 `-a` is not a host name",
            "3:34 `a..b` is not a host name",
            "3:42 `ä.b` is not a host name",
            "3:49 `a:80` is not a host name",
            "3:57 `10.0.0.1` is not a host name",
            "3:69 `a.` is not a host name",
            "3:75 `w*.a` is not a host name",
        ],
    ),
    ("concurrency = { hard_limit = 5 }", &[]),
    (
        "concurrency = { type = 'requests', hard_limit = 5 }",
        &["2:24 `requests` where no port has the `http` handler: none are seen there"],
    ),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\nconcurrency = { soft_limit = 6, hard_limit = 5 }",
        &["3:30 `soft_limit` is above `hard_limit`"],
    ),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\nconcurrency = { type = 'request', hard_limit = 0 }",
        &[
            "3:24 `request` is not a value of `type`",
            "3:48 `hard_limit` must be a whole number from 1 to 4294967295, found 0",
        ],
    ),
    ("load_balancer = { servers = [] }", &["2:29 `servers` is empty"]),
    ("load_balancer = {}", &["2:17 `servers` is missing in `load_balancer`"]),
    (
        "load_balancer = { servers = [{ address = 'fd00::1:8080' }] }\ninternal_port = 80",
        &["2:42 `fd00::1:8080` may be an address, or an address and a port"],
    ),
    (
        "load_balancer = { servers = [{ address = 'fd00:0:0:0:0:0:0:1:8080' }] }",
        &["2:42 `fd00:0:0:0:0:0:0:1:8080` is not the address of a server"],
    ),
    (
        "load_balancer.servers = [{ address = '10.0.0.1' }, { address = '[fd00::1:8080]' }, \
         { address = 'fd00::1:11' }]\ninternal_port = 80",
        &[],
    ),
    (
        "load_balancer = { servers = [{ address = '10.0.0.1:80' }], strategy = 'leastconn' }",
        &["2:71 `leastconn` is not a value of `strategy`"],
    ),
    ("load_balancer = { servers = [{ address = '10.0.0.1:80' }], strategy = 'p2c' }", &[]),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\nload_balancer = { strategy = 'peak_ewma', servers = [{ address = '10.0.0.1:80' }] }",
        &[],
    ),
    (
        "ports = [{ port = 80, handlers = ['http'] }]\nload_balancer = { strategy = 'hrw', servers = [{ address = '10.0.0.1:80' }], responseForwarding = { flushInterval = '1s' } }",
        &[],
    ),
    (
        "loadBalancer = { servers = [{ address = '10.0.0.1:80' }], sticky = {} }\nload_balancer_ = 1",
        &["2:59 `sticky` is not supported yet", "3:1 unknown key `load_balancer_` in `services`"],
    ),
    (
        "load_balancer = { servers = [{ address = '10.0.0.1:80' }] }\npool = 'a'",
        &["3:1 `pool` beside `load_balancer`"],
    ),
    (
        "internal_port = 'x'\nload_balancer.servers = [{ address = '10.0.0.1' }]",
        &["2:17 `internal_port` must be a whole number from 1 to 65535, found text"],
    ),
];

#[test]
fn a_service_lacks_what_it_must_have() {
    let text = format!("[[services]]\n{NODE}");
    assert_eq!(
        mistakes(&text),
        [
            "1:1 `addresses` is missing in `services`",
            "1:1 `name` is missing in `services`",
            "1:1 `ports` is missing in `services`",
            "1:1 the service has no servers",
        ]
    );
}
