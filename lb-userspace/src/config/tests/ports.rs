use super::{NODE, Row, check, complete, mistakes, port};

#[test]
fn mistakes_in_ports_are_told() {
    check(ROWS, port);
}

const ROWS: &[Row] = &[
    ("port = 443, handlers = ['tls', 'http']", &[]),
    ("handlers = ['http']", &["2:10 `port` is missing in `ports`"]),
    ("port = 0", &["2:19 `port` must be a whole number from 1 to 65535, found 0"]),
    ("port = 65536", &["2:19 `port` must be a whole number from 1 to 65535, found 65536"]),
    ("port = '443'", &["2:19 `port` must be a whole number from 1 to 65535, found text"]),
    ("prot = 443, port = 80", &["2:12 unknown key `prot` in `ports`"]),
    ("start_port = 1, end_port = 80", &[]),
    ("startPort = 80, endPort = 80", &[]),
    ("start_port = 1", &["2:12 a range of ports without `end_port`"]),
    ("end_port = 1", &["2:12 a range of ports without `start_port`"]),
    ("start_port = 1, end_port = 80, port = 80", &["2:43 `port` beside a range of ports"]),
    (
        "start_port = 1, port = 80",
        &["2:12 a range of ports without `end_port`", "2:28 `port` beside a range of ports"],
    ),
    ("start_port = 2, end_port = 1", &["2:39 `end_port` 1 is below `start_port` 2"]),
    (
        "start_port = 0, end_port = 1",
        &["2:25 `start_port` must be a whole number from 1 to 65535, found 0"],
    ),
    ("port = 80 }, { start_port = 81, end_port = 99 }, { port = 100", &[]),
    ("port = 80 }, { start_port = 80, end_port = 99", &["2:40 `80-99` overlaps `80`"]),
    ("start_port = 80, end_port = 99 }, { port = 99", &["2:55 `99` overlaps `80-99`"]),
    (
        "start_port = 80, end_port = 99 }, { start_port = 10, end_port = 200",
        &["2:61 `10-200` overlaps `80-99`"],
    ),
    ("port = 80, handlers = ['htpt']", &["2:35 `htpt` is not a value of `handlers`"]),
    ("port = 5432, handlers = ['pg_tls']", &[]),
    ("port = 5432, handlers = ['pg_tls', 'proxy_proto'], tls_options = {}", &[]),
    ("port = 5432, handlers = ['tls', 'pg_tls']", &["2:36 `tls` and `pg_tls` do not go together"]),
    (
        "port = 5432, handlers = ['pg_tls'], tls_options = { alpn = ['h2'] }",
        &["2:72 the `pg_tls` handler does not speak `h2`"],
    ),
    ("port = 443, handlers = ['proxy_proto', 'tls']", &[]),
    ("port = 5432, handlers = ['proxy_proto', 'pg_tls']", &[]),
    ("port = 443, handlers = ['tls', 'proxy_proto']", &[]),
    ("port = 80, handlers = ['proxy_proto'], proxy_proto_options = { version = 'v2' }", &[]),
    (
        "port = 80, handlers = ['http', 'proxy_proto']",
        &["2:34 `http` and `proxy_proto` do not go together"],
    ),
    (
        "port = 80, handlers = ['proxy_proto'], proxy_proto_options = { version = 2 }",
        &["2:85 `version` must be \"v1\" or \"v2\", found a whole number"],
    ),
    (
        "port = 80, handlers = ['http'], proxy_proto_options = {}",
        &["2:44 `proxy_proto_options` on a port without the `proxy_proto` handler"],
    ),
    ("port = 443, handlers = ['http', 'tls']", &[]),
    (
        "port = 443, handlers = ['http', 'tls', 'proxy_proto']",
        &["2:35 `http` and `tls` and `proxy_proto` do not go together"],
    ),
    ("port = 80, handlers = ['http', 'redirect']", &[]),
    ("port = 80, handlers = ['redirect', 'http'], force_https = { status = 308 }", &[]),
    ("port = 80, handlers = ['http', 'redirect'], force_https = true", &[]),
    (
        "port = 80, handlers = ['redirect']",
        &["2:35 `redirect` on a port without the `http` handler"],
    ),
    (
        "port = 80, handlers = ['proxy_proto', 'redirect']",
        &["2:50 `redirect` on a port without the `http` handler"],
    ),
    (
        "port = 443, handlers = ['tls', 'http', 'redirect']",
        &["2:51 `redirect` on a port that already is https"],
    ),
    (
        "port = 80, handlers = ['redirect', 'http', 'redirect']",
        &["2:55 handler `redirect` is given twice"],
    ),
    (
        "port = 80, handlers = ['http', 'redirect'], force_https = false",
        &["2:56 `force_https = false` beside the handler `redirect`, which says the opposite"],
    ),
    ("port = 443, handlers = ['http', 'http']", &["2:44 handler `http` is given twice"]),
    (
        "port = 80, handlers = ['http'], http_options = { h2_backend = true, response = { \
         pristine = true, headers = { server = false, X-A = 'b', x-c = ['d', 'e'] } } }",
        &[],
    ),
    ("port = 80, handlers = ['http'], httpOptions = { h2Backend = true }", &[]),
    (
        "port = 80, handlers = ['proxy_proto'], http_options = {}",
        &["2:51 `http_options` on a port without the `http` handler"],
    ),
    (
        "port = 80, handlers = ['http'], http_options = { h2_backend = 1 }",
        &["2:74 `h2_backend` must be true or false, found a whole number"],
    ),
    (
        "port = 80, handlers = ['http'], http_options.response.headers = { server = true }",
        &["2:87 header `server` cannot be true"],
    ),
    (
        "port = 80, handlers = ['http'], http_options.response.headers = { 'a b' = 'c' }",
        &["2:78 `a b` is not the name of a header"],
    ),
    (
        "port = 80, handlers = ['http'], http_options.response.headers = { x = \"a\\nb\" }",
        &["2:82 the value of header `x` has a control character"],
    ),
    (
        "port = 80, handlers = ['http'], http_options.response.headers = { Connection = 'x' }",
        &["2:78 `Connection` says how a message is sent"],
    ),
    ("port = 80, force_https = true", &["2:23 `force_https` on a port without the `http` handler"]),
    ("port = 443, handlers = ['tls', 'http'], force_https = true", &[]),
    ("port = 443, handlers = ['tls', 'http'], force_https = { status = 307, port = 8443 }", &[]),
    (
        "port = 443, handlers = ['tls'], force_https = true",
        &["2:44 `force_https` on a port without the `http` handler"],
    ),
    ("port = 80, handlers = ['http'], force_https = {}", &[]),
    ("port = 80, handlers = ['http'], forceHttps = { status = 302, port = 8443 }", &[]),
    (
        "port = 80, handlers = ['http'], force_https = { status = 303 }",
        &["2:69 `status` 303 does not redirect"],
    ),
    (
        "port = 80, handlers = ['http'], force_https = { status = 200, port = 0 }",
        &[
            "2:69 `status` must be a whole number from 300 to 399, found 200",
            "2:81 `port` must be a whole number from 1 to 65535, found 0",
        ],
    ),
    (
        "port = 80, handlers = ['http'], force_https = { code = 308 }",
        &["2:60 unknown key `code` in `force_https`"],
    ),
    (
        "port = 80, force_https = { status = 308 }",
        &["2:23 `force_https` on a port without the `http` handler"],
    ),
    ("port = 80, handlers = ['http'], idle_timeout = '10m'", &[]),
    ("port = 5432, handlers = ['pg_tls'], idleTimeout = '2h'", &[]),
    ("port = 80, handlers = ['http'], http_options.idle_timeout = 600", &[]),
    ("port = 80, handlers = ['http'], http_options.idle_timeout = '10m'", &[]),
    (
        "port = 80, handlers = ['http'], http_options.idle_timeout = 0",
        &["2:72 `idle_timeout` must be a whole number from 1 to 31536000, found 0"],
    ),
    (
        "port = 80, handlers = ['http'], idle_timeout = '1m', http_options.idle_timeout = 60",
        &["2:44 `idle_timeout` is given twice"],
    ),
    ("port = 80, idle_timeout = '1m'", &["2:23 `idle_timeout` on a port without handlers"]),
    (
        "port = 80, handlers = ['http'], idle_timeout = '0s'",
        &["2:59 `idle_timeout` must not be zero or shorter than a millisecond"],
    ),
    ("port = 80, handlers = ['http'], force_https = true", &[]),
    ("port = 80, force_https = false", &[]),
    (
        "port = 80, handlers = ['http'], force_https = 'yes'",
        &["2:58 `force_https` must be true or false, found text"],
    ),
    (
        "port = 80, handlers = ['http'], tls_options = {}",
        &["2:44 `tls_options` on a port without the `tls` or `pg_tls` handler"],
    ),
    (
        "port = 80, handlers = ['tls'], tls_options = { alpn = ['', 'h2', 'h2'] }",
        &["2:67 a protocol name of 0 bytes in `alpn`", "2:77 protocol `h2` is given twice"],
    ),
    (
        "port = 80, handlers = ['tls', 'http'], tls_options = { alpn = ['imap'] }",
        &["2:75 the `http` handler does not speak `imap`"],
    ),
    ("port = 993, handlers = ['tls'], tls_options = { alpn = ['imap'] }", &[]),
    (
        "port = 80, handlers = ['tls'], tls_options = { versions = [] }",
        &["2:70 `versions` is empty"],
    ),
    (
        "port = 80, handlers = ['tls'], tls_options = { versions = ['TLSv1.1'] }",
        &["2:71 `TLSv1.1` is not a value of `versions`"],
    ),
    (
        "port = 80, handlers = ['tls'], tls_options = { client_auth = 'optional' }",
        &["2:59 `client_auth` without `client_ca`: no certificate could be verified"],
    ),
    (
        "port = 80, handlers = ['tls'], tls_options = { client_ca = '' }",
        &["2:71 `client_ca` must be a path"],
    ),
    (
        "port = 80, handlers = ['tls', 'http'], tls_options = { client_ca = 'a', forward_client_cert = true }",
        &[],
    ),
    (
        "port = 80, handlers = ['tls', 'http'], tls_options = { forward_client_cert = true }",
        &["2:89 `forward_client_cert` without `client_ca`: clients are asked for no certificate"],
    ),
    (
        "port = 80, handlers = ['tls'], tls_options = { client_ca = 'a', forward_client_cert = true }",
        &["2:98 `forward_client_cert` on a port without the `http` handler"],
    ),
    (
        "port = 80, handlers = ['tls'], tls_options = { default_selfsigned = true }",
        &["2:59 unknown key `default_selfsigned` in `tls_options`"],
    ),
];

#[test]
fn tls_needs_a_certificate() {
    let service = |options: &str| {
        let defaults = [("name", "'web'"), ("addresses", "['203.0.113.10']")];
        let keys = format!(
            "ports = [{{ port = 443, handlers = ['tls']{options} }}]\n\
             load_balancer.servers = [{{ address = '10.0.0.1:80' }}]"
        );
        format!("{}{NODE}", complete("[[services]]", &keys, &defaults))
    };
    assert_eq!(
        mistakes(&service("")),
        ["2:24 `tls` without a certificate: no handshake could succeed"]
    );
    let self_signed = ", tls_options = { default_self_signed = true }";
    assert!(mistakes(&service(self_signed)).is_empty());
}
