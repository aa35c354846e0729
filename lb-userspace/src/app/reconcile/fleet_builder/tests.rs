use std::path::Path;

use super::*;
use crate::{app::reconcile::table_sizes, config, settings::Config, tables::Capacity};

const TWO_SERVICES: &str = r#"
[node]
interfaces = ["eth0"]

[[services]]
name = "raw"
addresses = ["203.0.113.1", "203.0.113.2"]
ports = [{ port = 7000 }]
load_balancer.servers = [{ address = "10.0.0.1:80" }, { address = "10.0.0.2:80" }]

[[services]]
name = "web"
addresses = ["203.0.113.1"]
ports = [{ port = 80, handlers = ["http"] }]
load_balancer.servers = [{ address = "10.0.0.2:80" }, { address = "10.0.0.3:80" }]
"#;

fn config() -> Config {
    config::parse(Path::new("lb.toml"), TWO_SERVICES).unwrap_or_else(|errors| {
        panic!("{}", errors.render(false));
    })
}

fn fleet() -> Fleet {
    let config = config();
    let capacity = Capacity { services: 4, backends: 4, loads: 4, rings: 0 };
    let mut ids = StableIds::new(capacity);
    build_fleet(&Fleet::default(), &config.services, &mut ids).unwrap()
}

#[test]
fn servers_of_one_address_share_a_load_slot() {
    let fleet = fleet();
    let slot = |service: usize, backend: usize| fleet.services[service].backends[backend].slot;
    assert_eq!(slot(0, 1), slot(1, 0));
    assert_ne!(slot(0, 0), slot(1, 1));
}

#[test]
fn a_transition_is_of_one_service_s_server_only() {
    let fleet = fleet();
    let mut transition = Transition {
        service: "web".into(),
        server: "10.0.0.2:80".parse().unwrap(),
        up: false,
        why: "refused".into(),
    };
    let up = |fleet: &Fleet| -> Vec<bool> {
        let backends = fleet.services.iter().flat_map(|running| &running.backends);
        backends.map(|backend| backend.is_up()).collect()
    };
    apply_transition(&fleet, &transition);
    assert_eq!(up(&fleet), [true, true, false, true]);
    transition.up = true;
    apply_transition(&fleet, &transition);
    assert_eq!(up(&fleet), [true; 4]);
}

#[test]
fn only_steered_servers_need_a_source() {
    let ips = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
    assert_eq!(steered_servers(&fleet()), ips.into());
    assert_eq!(addresses(&fleet()).len(), 2);
}

#[test]
fn the_tables_have_at_least_the_usual_sizes() {
    let mut config = config();
    let usual = table_sizes::size(&config);
    let raw = &config.services[0];
    let many = (0..20_000).map(|n| {
        let mut service = Service::clone(raw);
        service.name = format!("raw{n}").into();
        Arc::new(service)
    });
    config.services = many.collect();
    let large = table_sizes::size(&config);
    assert!(large.services > usual.services && large.ring_slots > usual.ring_slots);
    assert_eq!(large.load_slots, usual.load_slots, "they all have the same servers");
    assert_eq!(large.source_ports, usual.source_ports);
}
