use std::path::Path;

use super::*;
use crate::{app::reconcile::fleet_builder, config, control::StableIds, tables::Capacity};

const ONE: &str = r#"
[node]
interfaces = ["eth0"]

[[services]]
name = "raw"
addresses = ["203.0.113.1"]
ports = [{ port = 7000 }]
drain_deadline = "60s"
load_balancer.servers = [
  { address = "10.0.0.1:80" },
  { address = "10.0.0.2:80", drain = true },
]
"#;

fn fleet() -> Fleet {
    let config = config::parse(Path::new("lb.toml"), ONE).unwrap_or_else(|e| panic!("{e}"));
    let capacity = Capacity { services: 9, backends: 9, loads: 9, rings: 9 };
    let mut ids = StableIds::new(capacity);
    fleet_builder::build_fleet(&Fleet::default(), &config.services, &mut ids).unwrap()
}

fn order(server: &str, deadline_ms: Option<u64>, undo: bool) -> DrainRequest {
    let server = server.parse().unwrap();
    DrainRequest { service: "raw".into(), server, deadline_ms, undo }
}

#[test]
fn who_drains_by_configuration_is_expelled_in_time() {
    let (fleet, now) = (fleet(), Moment::now());
    let mut draining = Drains::resume(&fleet, Vec::new(), now);
    let minute = Duration::from_secs(60);
    let end = now.instant + minute;
    assert_eq!(draining.next(), Some(end));
    assert!(!draining.expel(now.instant));
    assert!(draining.expel(end) && !draining.expel(end));
    let backends = &fleet.services[0].backends;
    assert!(backends[1].is_expelled() && !backends[0].is_expelled());
    let undo = draining.order(&fleet, &order("10.0.0.2:80", None, true), now);
    assert!(undo.unwrap_err().contains("drains by configuration"));
}

#[test]
fn an_order_drains_and_another_undoes_it() {
    let (fleet, now) = (fleet(), Moment::now());
    let mut draining = Drains::default();
    let (first, revision) = (&fleet.services[0].backends[0], fleet.services[0].revision());
    draining.order(&fleet, &order("10.0.0.1:80", Some(5), false), now).unwrap();
    assert!(first.is_draining() && !first.is_open() && !first.is_expelled());
    assert!(closed_warning(&fleet, "raw").unwrap().contains("0 of 2 are down, the others drain"));
    assert_eq!(first.drain_deadline(), Some(now.instant + Duration::from_millis(5)));
    assert_ne!(fleet.services[0].revision(), revision);
    assert!(draining.expel(now.instant + Duration::from_millis(5)));
    assert!(first.is_expelled());
    draining.order(&fleet, &order("10.0.0.1:80", None, true), now).unwrap();
    assert!(first.is_open() && !first.is_expelled());
    assert_eq!(closed_warning(&fleet, "raw"), None);
    assert_eq!((draining.next(), first.drain_deadline()), (None, None));
}

#[test]
fn who_does_not_exist_is_said() {
    let (fleet, now) = (fleet(), Moment::now());
    let mut draining = Drains::default();
    let wrong = draining.order(&fleet, &order("10.0.0.9:80", None, false), now);
    assert!(wrong.unwrap_err().ends_with("it has 10.0.0.1:80, 10.0.0.2:80"));
    let other = DrainRequest { service: "web".into(), ..order("10.0.0.1:80", None, false) };
    assert_eq!(draining.order(&fleet, &other, now), Err("there is no service \"web\"".to_owned()));
}

fn later(now: Moment, seconds: u64) -> Moment {
    let passed = Duration::from_secs(seconds);
    Moment { instant: now.instant + passed, wall: now.wall + passed }
}

#[test]
fn an_order_stands_and_its_time_runs_on_while_daemons_come_and_go() {
    let (first, now) = (fleet(), Moment::now());
    let mut draining = Drains::resume(&first, Vec::new(), now);
    draining.order(&first, &order("10.0.0.1:80", Some(90_000), false), now).unwrap();
    let mut noted = draining.noted();
    assert_eq!(noted.len(), 2);
    for seconds in [20, 40, 50] {
        let (fleet, then) = (fleet(), later(now, seconds));
        let draining = Drains::resume(&fleet, noted, then);
        assert!(fleet.services[0].backends.iter().all(|backend| backend.is_draining()));
        let ends: Vec<_> = draining.deadlines.iter().map(|it| it.at - now.instant).collect();
        assert_eq!(ends, [90, 60].map(Duration::from_secs));
        noted = draining.noted();
    }
    let (fleet, then) = (fleet(), later(now, 100));
    let mut draining = Drains::resume(&fleet, noted, then);
    assert!(fleet.services[0].backends.iter().all(|backend| backend.is_expelled()));
    draining.order(&fleet, &order("10.0.0.1:80", None, true), then).unwrap();
    let noted = draining.noted();
    assert_eq!(noted.len(), 1, "what an order undid is forgotten: {noted:?}");
    let back = self::fleet();
    Drains::resume(&back, noted, then);
    assert!(back.services[0].backends[0].is_open() && back.services[0].backends[1].is_expelled());
}

#[test]
fn what_the_configuration_took_back_is_forgotten_and_what_was_ordered_is_not() {
    let (fleet, now) = (fleet(), Moment::now());
    let member = |server: &str| ("raw".to_owned(), server.parse().unwrap());
    let configured = drained(&member("10.0.0.1:80"), now);
    let gone = DrainRecord { ordered: true, ..drained(&member("10.0.0.9:80"), now) };
    let mut draining = Drains::resume(&fleet, vec![configured.clone(), gone], now);
    assert_eq!(draining.noted().len(), 2, "it may have flows");
    assert!(draining.follow(&[], now), "it has none");
    let noted = draining.noted();
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert!(fleet.services[0].backends[0].is_open());
    let ordered = DrainRecord { ordered: true, ..configured };
    Drains::resume(&fleet, vec![ordered], now);
    assert!(!fleet.services[0].backends[0].is_open());
}

#[test]
fn a_wall_clock_that_was_set_back_prolongs_nothing() {
    let (fleet, now) = (fleet(), Moment::now());
    let noted = Drains::resume(&fleet, Vec::new(), later(now, 3600)).noted();
    let draining = Drains::resume(&fleet, noted, now);
    assert_eq!(draining.next(), Some(now.instant + Duration::from_secs(60)));
}
