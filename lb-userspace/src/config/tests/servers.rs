use super::{Row, check, health_check, server};

#[test]
fn mistakes_in_servers_are_told() {
    check(ROWS, server);
}

const ROWS: &[Row] = &[
    ("address = '10.0.0.1:80', weight = 65535", &[]),
    ("address = '[2001:db8::1]:80' }, { address = '10.0.0.1:80'", &[]),
    ("weight = 1", &["2:30 `address` is missing in `servers`"]),
    ("address = 'backend.local:80'", &["2:42 `backend.local:80` is not the address of a server"]),
    (
        "address = 'http://10.0.0.1:80/'",
        &["2:42 `http://10.0.0.1:80/` is not the address of a server"],
    ),
    ("address = '10.0.0.1:0'", &["2:42 `10.0.0.1:0` has port 0"]),
    ("address = '0.0.0.0:80'", &["2:42 `0.0.0.0` is the unspecified address"]),
    ("address = '[ff02::1]:80'", &["2:42 `ff02::1` is a multicast address"]),
    ("address = '[::ffff:10.0.0.1]:80'", &["2:42 `::ffff:10.0.0.1` is an IPv4-mapped address"]),
    (
        "address = '10.0.0.1'",
        &["2:42 server `10.0.0.1` has no port, and its service no `internal_port`"],
    ),
    (
        "address = '203.0.113.10:80'",
        &["2:42 `203.0.113.10` is a service's own address, not a server's"],
    ),
    ("address = '127.0.0.1:80'", &["2:42 `127.0.0.1` cannot be reached from the kernel"]),
    ("address = '[2001:db8::1]:80'", &["4:14 no server has an IPv4 address to steer port 443 to"]),
    (
        "address = '10.0.0.1:80' }, { address = '10.0.0.1:80'",
        &["2:71 server `10.0.0.1:80` is given twice"],
    ),
    (
        "address = '10.0.0.1:80', weight = 65536",
        &["2:66 `weight` must be a whole number from 0 to 65535, found 65536"],
    ),
    (
        "address = '10.0.0.1:80', weight = 0",
        &["2:29 every server has weight 0 or drains, so none takes anything new"],
    ),
    (
        "address = '10.0.0.1:80', drain = true }, { address = '10.0.0.2:80', weight = 0",
        &["2:29 every server has weight 0 or drains, so none takes anything new"],
    ),
    ("address = '10.0.0.1:80', drain = true }, { address = '10.0.0.2:80'", &[]),
    ("address = '10.0.0.1:80', drain = 'yes'", &["2:65 `drain` must be true or false, found text"]),
    (
        "address = '10.0.0.1:80', server_id = '0a'",
        &["2:69 `server_id` in a service without `quic`"],
    ),
    ("address = '10.0.0.1:80', server_id = '0'", &["2:69 `0` is not a server id"]),
    ("address = '10.0.0.1:80', server_id = 'xy'", &["2:69 `xy` is not a server id"]),
    ("address = '10.0.0.1:80', instance = ''", &["2:68 `` in `instance` is not a name"]),
    (
        "address = '10.0.0.1:80', region = 'any'",
        &["2:66 `any` in `region` stands for every region"],
    ),
    ("url = 'http://10.0.0.1', address = '10.0.0.1:80'", &["2:32 unknown key `url` in `servers`"]),
];

#[test]
fn mistakes_in_health_checks_are_told() {
    check(HEALTH, health_check);
}

const HEALTH: &[Row] = &[
    ("", &[]),
    ("path = '/healthz', unhealthyInterval = '1s', healthy_threshold = 2", &[]),
    ("path = 'healthz'", &["2:39 `healthz` is not the path of a request"]),
    ("path = '/a b'", &["2:39 `/a b` is not the path of a request"]),
    ("hostname = 'a'", &["2:32 `hostname` has no meaning in a TCP check"]),
    ("mode = 'tcp', path = '/'", &["2:46 `path` has no meaning in a TCP check"]),
    ("path = '/', h2_backend = true, proxy_proto = 'v2', direct = true", &[]),
    ("h2Backend = true", &["2:32 `h2_backend` has no meaning in a TCP check"]),
    ("proxy_proto = 'v3'", &["2:46 `v3` is not a value of `proxy_proto`"]),
    ("mode = 'http'", &["2:30 `path` is missing in `health_check`"]),
    ("mode = 'grpc'", &["2:39 `grpc` in `mode` is not supported yet"]),
    ("path = '/', scheme = 'https'", &["2:44 `scheme` is not supported yet"]),
    ("path = '/', followRedirects = true", &["2:44 `follow_redirects` is not supported yet"]),
    ("path = '/', method = 'CONNECT'", &["2:53 `CONNECT` cannot be the method of a check"]),
    (
        "path = '/', status = 99",
        &["2:53 `status` must be a whole number from 100 to 599, found 99"],
    ),
    (
        "path = '/', headers = { 'a b' = 'c', Host = 'd', X = 5, Y = \"a\\nb\" }",
        &[
            "2:56 `a b` is not the name of a header",
            "2:69 `Host` is set by the check itself",
            "2:85 `X` must be text in quotes, found a whole number",
            "2:92 the value of header `Y` has a control character",
        ],
    ),
    ("interval = '0ms'", &["2:43 `interval` must not be zero or shorter than a millisecond"]),
    (
        "unhealthy_threshold = 0",
        &["2:54 `unhealthy_threshold` must be a whole number from 1 to 1000, found 0"],
    ),
    ("port = 70000", &["2:39 `port` must be a whole number from 1 to 65535, found 70000"]),
];
