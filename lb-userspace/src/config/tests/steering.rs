use std::time::Duration;

use super::{Row, check, service, valid};
use crate::service::{
    Affinity, Forwarding, Limits, MssClamp, OnBackendDown, Quic, Rate, Service, SourcePrefix,
    Strategy, SynFlood,
};

#[test]
fn mistakes_in_steering_are_told() {
    check(ROWS, service);
}

/// A service of TCP port 443 with the server 10.0.0.1:80, where a row does not say otherwise.
const ROWS: &[Row] = &[
    // What acts on steered packets alone.
    (
        "forwarding = 'ipip'\nmtu = 1500\nports = [{ port = 80, handlers = ['http'] }]",
        &[
            "2:14 `forwarding` on a service whose ports all have handlers",
            "3:1 `mtu` on a service whose ports all have handlers",
        ],
    ),
    ("allow = ['10.0.0.0/8']\nports = [{ port = 80, handlers = ['http'] }, { port = 81 }]", &[]),
    // Ports.
    (
        "forwarding = 'l2'",
        &["6:42 `l2` keeps the port that the client asked for, and this server listens on 80"],
    ),
    ("forwarding = 'l2'\nports = [{ port = 80 }]", &[]),
    ("forwarding = 'gue'\nload_balancer = { servers = [{ address = '10.0.0.1' }] }", &[]),
    (
        "forwarding = 'gue'\ninternal_port = 8443\nload_balancer = { servers = [{ address = '10.0.0.1' }] }",
        &["4:42 `gue` keeps the port that the client asked for, and this server listens on 8443"],
    ),
    (
        "forwarding = 'ipip'\nports = [{ port = 80 }, { port = 81 }]",
        &["6:42 `ipip` keeps the port that the client asked for, and this server listens on 80"],
    ),
    (
        "ports = [{ start_port = 80, end_port = 90 }]\nload_balancer = { servers = [{ address = '10.0.0.1' }] }",
        &[],
    ),
    (
        "ports = [{ start_port = 80, end_port = 90 }, { port = 99, handlers = ['http'] }]\nload_balancer = { servers = [{ address = '10.0.0.1' }] }",
        &["3:42 server `10.0.0.1` has no port, and its service no `internal_port`"],
    ),
    (
        "ports = [{ start_port = 80, end_port = 90 }]\nload_balancer = { servers = [{ address = '10.0.0.1' }], health_check = {} }",
        &["3:42 server `10.0.0.1` listens on many ports: which one is to be checked?"],
    ),
    (
        "ports = [{ start_port = 80, end_port = 90 }]\nload_balancer = { servers = [{ address = '10.0.0.1' }], health_check = { port = 80 } }",
        &[],
    ),
    // Families.
    (
        "forwarding = 'l2'\naddresses = ['2001:db8::1']\nports = [{ port = 80 }]",
        &["3:14 no server has an IPv6 address to steer port 80 to"],
    ),
    ("forwarding = 'ipip'\naddresses = ['2001:db8::1']\nports = [{ port = 80 }]", &[]),
    // Sizes.
    ("mtu = 575", &["2:7 `mtu` must be a whole number from 576 to 65535, found 575"]),
    ("mtu = 576", &[]),
    (
        "mtu = 1307\nforwarding = 'gue'\naddresses = ['2001:db8::1']\nports = [{ port = 80 }]",
        &["2:7 an `mtu` of 1307 is too small for IPv6"],
    ),
    ("mtu = 1308\nforwarding = 'gue'\naddresses = ['2001:db8::1']\nports = [{ port = 80 }]", &[]),
    ("mss_clamp = true", &[]),
    ("mss_clamp = 1400", &[]),
    ("mss_clamp = 0", &["2:13 `mss_clamp` must be a whole number from 536 to 65535, found 0"]),
    // One protocol only.
    ("protocol = 'udp'\nmss_clamp = true", &["3:13 `mss_clamp` on a UDP service"]),
    ("protocol = 'udp'\non_backend_down = 'reset'", &["3:19 UDP flows cannot be reset"]),
    ("protocol = 'udp'\non_backend_down = 'move'", &[]),
    (
        "protocol = 'udp'\nsyn_flood = { threshold = 5 }",
        &["3:13 `syn_flood` on a UDP service: there are no SYNs"],
    ),
    ("quic = { connection_ids = 'plain' }", &["2:8 `quic` on a TCP service"]),
    // QUIC.
    ("protocol = 'udp'\nquic = { connection_ids = 'plain' }", &[]),
    (
        "protocol = 'udp'\nquic = { connection_ids = 'encrypted' }",
        &["3:27 `encrypted` in `connection_ids` is not supported yet"],
    ),
    (
        "protocol = 'udp'\nquic = { server_id_length = 16 }",
        &[
            "3:8 `connection_ids` is missing in `quic`",
            "3:29 `server_id_length` must be a whole number from 1 to 15, found 16",
        ],
    ),
    (
        "protocol = 'udp'\nquic = { connection_ids = 'plain', server_id_length = 2 }\nload_balancer = { servers = [{ address = '10.0.0.1:80', server_id = '0a' }] }",
        &["4:69 a `server_id` of 1 bytes"],
    ),
    (
        "protocol = 'udp'\nquic = { connection_ids = 'plain', server_id_length = 1 }\nload_balancer = { servers = [{ address = '10.0.0.1:80', server_id = '0a' }, { address = '10.0.0.2:80', server_id = '0A' }] }",
        &["4:89 `10.0.0.2` and `10.0.0.1` have the same QUIC server id"],
    ),
    (
        "load_balancer = { strategy = 'peak_ewma', servers = [{ address = '10.0.0.1:80' }] }",
        &["2:30 `peak_ewma` where ports have no handlers: only the proxy measures answers"],
    ),
    // Defences.
    ("affinity = {}", &[]),
    (
        "affinity = { prefix_v4 = 33 }",
        &["2:26 `prefix_v4` must be a whole number from 0 to 32, found 33"],
    ),
    ("syn_flood = {}", &["2:13 `threshold` is missing in `syn_flood`"]),
    ("rate_limit = {}", &["2:14 `rate_limit` limits nothing"]),
    ("rate_limit = { per_source = { burst = 1 } }", &["2:29 `rate` is missing in `per_source`"]),
    (
        "rate_limit = { per_service = { rate = 1, prefix_v4 = 1 } }",
        &["2:42 unknown key `prefix_v4` in `per_service`"],
    ),
    ("allow = []", &["2:9 `allow` is empty"]),
    (
        "allow = ['10.0.0.0/8', '10.0.0.1/8', '10.0.0.0/33', '10.0.0']",
        &[
            "2:24 `10.0.0.1/8` has bits set beyond its prefix",
            "2:38 `10.0.0.0/33` is not a network",
            "2:53 `10.0.0` is not a network",
        ],
    ),
    ("deny = ['10.0.0.1', '10.0.0.1/32']", &["2:21 network `10.0.0.1/32` is given twice"]),
    (
        "allow = ['10.0.0.0/8']\ndeny = ['10.0.0.0/8', '10.0.0.0/9']",
        &["3:9 `10.0.0.0/8` is denied"],
    ),
];

fn built(keys: &str) -> Service {
    let config = valid(&service(keys));
    Service::clone(&config.services[0])
}

#[test]
fn nothing_said_means_the_documented_defaults() {
    let steering = built("").steering;
    assert_eq!(steering, crate::service::Steering::default());
    let udp = built("protocol = 'udp'").steering;
    assert_eq!(udp.on_backend_down, OnBackendDown::Move);
}

#[test]
fn what_is_said_is_understood() {
    let ours = built(
        "forwarding = 'ipip'\nmtu = 9000\nmss_clamp = 1400\naffinity = { prefix_v4 = 24 }\n\
         concurrency = { hard_limit = 100 }\non_backend_down = 'move'\ndrain_deadline = '1m'\n\
         flow_timeouts = { established = '2h' }\nsyn_flood = { threshold = 500 }\n\
         rate_limit = { per_source = { rate = 10 }, per_service = { rate = 1000, burst = 5000 } }\n\
         allow = ['10.0.0.0/8', '2001:db8::/32']\ndeny = ['10.1.0.0/16']\n\
         load_balancer = { strategy = 'least_conn', servers = [{ address = '10.0.0.1' }] }",
    );
    let steering = &ours.steering;
    assert_eq!(steering.forwarding, Forwarding::Ipip);
    assert_eq!(ours.pool.servers[0].address.port(), 443, "ipip keeps the port");
    assert_eq!(steering.strategy, Strategy::LeastConn);
    assert_eq!((steering.mtu, steering.mss_clamp), (Some(9000), MssClamp::To(1400)));
    let source = SourcePrefix { v4: 24, v6: 128 };
    let timeout = Duration::from_secs(600);
    assert_eq!(steering.affinity, Some(Affinity { timeout, source }));
    assert_eq!(steering.limits, Limits { soft: None, hard: Some(100) });
    assert_eq!(steering.on_backend_down, OnBackendDown::Move);
    assert_eq!(steering.drain_deadline, Some(Duration::from_secs(60)));
    assert_eq!(steering.flow_timeouts.established, Duration::from_secs(7200));
    assert_eq!(steering.flow_timeouts.half_open, Duration::from_secs(30), "the node's");
    let remember = Duration::from_secs(300);
    assert_eq!(steering.syn_flood, Some(SynFlood { threshold: 500, remember }));
    let per_source = steering.rate_limits.per_source.unwrap();
    assert_eq!(per_source.rate, Rate { rate: 10, burst: 10 });
    assert_eq!(per_source.source, SourcePrefix { v4: 32, v6: 64 });
    assert_eq!(steering.rate_limits.per_service, Some(Rate { rate: 1000, burst: 5000 }));
    let shown: Vec<_> = steering.access.allow.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "2001:db8::/32"]);
    assert_eq!(steering.access.deny[0].to_string(), "10.1.0.0/16");
}

#[test]
fn servers_of_a_quic_service_have_ids() {
    let quic = built(
        "protocol = 'udp'\nquic = { connection_ids = 'plain', server_id_length = 2 }\n\
         load_balancer = { servers = [{ address = '10.0.0.1:443', server_id = 'BEEF' }, { address = '10.0.0.2:443' }] }",
    );
    assert_eq!(quic.steering.quic, Some(Quic { server_id_length: 2 }));
    let ids: Vec<_> = quic.pool.servers.iter().map(|it| it.server_id.clone().unwrap()).collect();
    assert_eq!(*ids[0], [0xbe, 0xef]);
    assert_eq!(ids[1].len(), 2);
}

#[test]
fn ranges_reach_the_same_port_or_the_one_that_is_named() {
    let range = "ports = [{ start_port = 7000, end_port = 7010 }]\n";
    let portless = "load_balancer = { servers = [{ address = '10.0.0.1' }] }";
    let same = built(&format!("{range}{portless}"));
    assert_eq!(same.ports[0].numbers(), 7000..=7010);
    assert_eq!(same.pool.servers[0].address.port(), 0, "the one asked for");
    let named = built(&format!("{range}internal_port = 80\n{portless}"));
    assert_eq!(named.pool.servers[0].address.port(), 80);
}
