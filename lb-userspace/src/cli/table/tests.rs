use super::render;
use crate::admin::{
    BackendStatus, CertificateStatus, Drops, FailedHandshakes, Flows, HandshakeStatus,
    InterfaceStatus, LackStatus, RepairCount, ServiceStatus, SourcePorts, Status, Verdicts,
};

fn backend(address: &str, up: bool, live: u64) -> BackendStatus {
    BackendStatus {
        address: address.parse().expect("an address"),
        up,
        draining: false,
        removed: false,
        drain_remaining_ms: None,
        server_id: None,
        weight: 1,
        live,
        unanswered: None,
        taken: 1000,
        source_ports: None,
    }
}

fn drops(reason: &str, packets: u64) -> Drops {
    Drops { reason: reason.into(), packets }
}

fn failed(kind: &str, count: u64) -> FailedHandshakes {
    FailedHandshakes { kind: kind.into(), count }
}

fn lack(undone: &str, count: u64) -> LackStatus {
    LackStatus { undone: undone.into(), count }
}

fn repaired(what: &str, count: u64) -> RepairCount {
    RepairCount { what: what.into(), count }
}

fn certificate(
    path: &str,
    names: &[&str],
    concern: Option<&str>,
    problem: Option<&str>,
) -> CertificateStatus {
    CertificateStatus {
        path: path.into(),
        names: names.iter().map(ToString::to_string).collect(),
        not_after: None,
        concern: concern.map(Into::into),
        problem: problem.map(Into::into),
    }
}

fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        uptime_seconds: 3725,
        draining_processes: vec![41],
        interfaces: vec![InterfaceStatus { name: "eth0".into(), mode: "native".into() }],
        services: vec![ServiceStatus {
            name: "web".into(),
            path: "proxy".into(),
            protocol: "tcp".into(),
            forwarding: None,
            strategy: "p2c".into(),
            addresses: vec!["203.0.113.10".parse().expect("an address")],
            ports: vec!["443".into(), "20000-20999".into()],
            counts: "requests".into(),
            requests: 2000,
            failed: 3,
            no_source_port: 0,
            removed: false,
            backends: vec![
                backend("10.0.0.11:8080", true, 12),
                backend("[2001:db8::1]:8080", false, 0),
            ],
        }],
        drops: vec![drops("fragment", 1), drops("truncated", 0), drops("no_route", 9)],
        verdicts: Verdicts { pass: 1, proxy: 2, steer: 3, reply: 4 },
        handshakes: HandshakeStatus {
            completed: 12,
            failed: vec![failed("not_tls", 0), failed("timeout", 2)],
        },
        warnings: vec!["this is odd".into()],
        lacks: vec![lack("health_checks", 0), lack("accepting_paused", 7)],
        certificates: vec![certificate("a.crt", &["a.example.com"], None, None)],
        repaired: vec![repaired("local_route", 0), repaired("setting", 4)],
        flows: Flows {
            live: 5,
            max: 100,
            half_open: 2,
            max_half_open: 16,
            closed: 1,
            ..Flows::default()
        },
    }
}

const EXPECTED: &str = "\
lb 0.1.0, up 1h 2m 5s
connections of earlier processes go on: 41
interfaces  eth0 (native)
flows       established 3 of 100, half-open 2 of 16, closed 1
packets     pass 1, proxy 2, steer 3, reply 4
drops       no_route 9, fragment 1
handshakes  12, failed: timeout 2
lacking     accepting_paused 7: `ulimit -n`, ports and memory of this host
repaired    setting 4
warning     this is odd

web  proxy tcp p2c  203.0.113.10  port 443, 20000-20999  2000 requests, 3 failed
  BACKEND             STATE  WEIGHT  LIVE  REQUESTS
  10.0.0.11:8080      up          1    12      1000
  [2001:db8::1]:8080  down        1     0      1000
";

#[test]
fn who_drains_is_shown_with_the_time_left() {
    let state = |up, drain_remaining_ms| {
        let drains = BackendStatus { draining: true, ..backend("10.0.0.1:80", up, 1) };
        super::state(&BackendStatus { drain_remaining_ms, ..drains })
    };
    let waits = BackendStatus { unanswered: Some(3), ..backend("10.0.0.1:80", true, 1) };
    assert_eq!(super::state(&waits), "up, 3 unanswered");
    assert_eq!(state(true, None), "draining");
    assert_eq!(state(true, Some(59_001)), "draining, 1m left");
    assert_eq!(state(true, Some(1)), "draining, 1s left");
    assert_eq!(state(true, Some(0)), "drained");
    assert_eq!(state(false, Some(30_000)), "down, draining, 30s left");
}

#[test]
fn a_status_is_shown_in_columns() {
    assert_eq!(render(&status(), false), EXPECTED);
}

#[test]
fn only_what_is_down_is_red() {
    let coloured = render(&status(), true);
    assert_eq!(coloured.matches("\x1b[31m").count(), 1);
    assert_eq!(coloured.replace("\x1b[31m", "").replace("\x1b[0m", ""), EXPECTED);
}

#[test]
fn nothing_is_said_to_be_none() {
    let empty =
        Status { interfaces: Vec::new(), services: Vec::new(), drops: Vec::new(), ..status() };
    let text = render(&empty, false);
    assert!(text.contains("interfaces  none\n") && text.contains("drops       none\n"));
}

#[test]
fn what_is_steered_is_no_request() {
    let mut status = status();
    status.services[0].path = "steer".to_owned();
    status.services[0].counts = "connections".to_owned();
    status.services[0].forwarding = Some("ipip".to_owned());
    let text = render(&status, false);
    assert!(
        text.contains(
            "web  steer tcp ipip p2c  203.0.113.10  port 443, 20000-20999  2000 connections"
        ),
        "{text}"
    );
}

#[test]
fn what_left_the_configuration_is_shown_until_it_is_gone() {
    let mut status = status();
    let left = |drain_remaining_ms| BackendStatus {
        draining: true,
        removed: true,
        drain_remaining_ms,
        ..backend("10.0.0.1:80", true, 1)
    };
    status.services[0].backends = [None, Some(5000), Some(0)].map(left).into();
    let text = render(&status, false);
    for state in ["  removed  ", "  removed, 5s left  ", "  removed, time is up  "] {
        assert!(text.contains(state), "{text}");
    }
    status.services[0].removed = true;
    assert!(render(&status, false).contains("\nweb  removed  2000 requests\n"));
}

#[test]
fn a_table_under_pressure_says_so() {
    let mut status = status();
    status.flows.evicted_half_open = 7;
    let text = render(&status, false);
    assert!(text.contains("\nevicted     established 0, half-open 7, crowded 0\n"), "{text}");
}

#[test]
fn certificates_that_need_somebody_are_shown() {
    let mut status = status();
    status.certificates.extend([
        certificate("b.crt", &["b.example.com"], Some("has expired, 2026-01-01T00:00:00Z"), None),
        certificate("c.crt", &[], None, Some("c.key is not the key of c.crt")),
        certificate("d.crt", &["d.example.com"], None, Some("d.crt contains no certificate")),
    ]);
    let text = render(&status, false);
    let expected = "\
        certificate b.crt has expired, 2026-01-01T00:00:00Z\n\
        certificate c.crt is not used: c.key is not the key of c.crt\n\
        certificate d.crt is not taken over: d.crt contains no certificate\n\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn use_and_room_of_source_ports_are_shown_where_there_are_any() {
    let mut status = status();
    let service = &mut status.services[0];
    (service.path, service.no_source_port) = ("steer".into(), 7);
    service.counts = "connections".into();
    service.backends[0].source_ports = Some(SourcePorts { used: 20_480, room: 61_440 });
    let text = render(&status, false);
    let rows = [
        "2000 connections, 3 failed, 7 refused without a source port\n",
        "  BACKEND             STATE  WEIGHT  LIVE  CONNECTIONS    SOURCE PORTS\n",
        "  10.0.0.11:8080      up          1    12         1000  20480 of 61440\n",
        "  [2001:db8::1]:8080  down        1     0         1000\n",
    ];
    for row in rows {
        assert!(text.contains(row.trim_end()), "{text}");
    }
}
