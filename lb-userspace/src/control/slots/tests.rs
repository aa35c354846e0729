use lb_common::abi::{Address, Backend, Ring, Vip, VipKey, path};

use super::*;
use crate::{
    control::{
        Tables,
        desired::tests::{port, service},
    },
    tables::Command,
};

const CAPACITY: Capacity = Capacity { services: 2, backends: 2, loads: 2, rings: 0 };

fn server(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

#[test]
fn an_id_is_kept() {
    let mut slots = Slots::new(CAPACITY);
    let (web, dns) = ("web".into(), "dns".into());
    assert_eq!(slots.service(&web, Family::V4), Ok(0));
    assert_eq!(slots.service(&dns, Family::V6), Ok(1));
    slots.release(|_| false);
    assert_eq!(slots.service(&dns, Family::V6), Ok(1));
    assert_eq!(slots.service(&web, Family::V4), Ok(0));
    assert_eq!(
        slots.service(&web, Family::V6),
        Err(Error::Full { what: "steered services", room: 2 })
    );
}

#[test]
fn a_released_id_is_free_one_release_later() {
    let mut slots = Slots::new(CAPACITY);
    let web: Arc<str> = "web".into();
    assert_eq!(slots.backend(&web, server(1)), Ok(0));
    slots.release(|_| false);
    assert_eq!(slots.backend(&web, server(2)), Ok(1));
    slots.release(|_| false);
    assert!(slots.backend(&web, server(3)).is_err(), "let go, not free");
    slots.release(|_| false);
    assert_eq!(slots.backend(&web, server(3)), Ok(0));
}

#[test]
fn a_claim_in_time_takes_it_back() {
    let mut slots = Slots::new(CAPACITY);
    let web: Arc<str> = "web".into();
    slots.backend(&web, server(1)).unwrap();
    slots.release(|_| false);
    slots.release(|_| false);
    assert_eq!(slots.backend(&web, server(1)), Ok(0));
    slots.release(|_| false);
    slots.release(|_| false);
    assert_eq!(slots.backend_of(&web, server(1)), Some(0));
    slots.release(|_| false);
    assert_eq!(slots.backend_of(&web, server(1)), None);
}

#[test]
fn a_load_slot_with_connections_is_kept() {
    let mut slots = Slots::new(CAPACITY);
    slots.load(server(1)).unwrap();
    for _ in 0..4 {
        slots.release(|slot| slot == LoadSlot(0));
    }
    assert_eq!(slots.load(server(2)), Ok(LoadSlot(1)));
    for _ in 0..3 {
        slots.load(server(2)).unwrap();
        slots.release(|_| false);
    }
    assert_eq!(slots.load(server(3)), Ok(LoadSlot(0)));
}

#[test]
fn a_backend_with_connections_keeps_its_id() {
    let mut slots = Slots::new(CAPACITY);
    let web: Arc<str> = "web".into();
    let load = slots.load(server(1)).unwrap();
    slots.backend(&web, server(1)).unwrap();
    for _ in 0..4 {
        slots.release(|slot| slot == load);
    }
    assert_eq!(slots.backend_of(&web, server(1)), Some(0));
    assert!(slots.busy(|slot| slot == load).eq([server(1)]));
    for _ in 0..2 {
        slots.release(|_| false);
    }
    assert_eq!(slots.backend_of(&web, server(1)), None);
}

const LARGE: Capacity = Capacity { services: 8, backends: 8, loads: 8, rings: 16 };

#[test]
fn a_resumed_assignment_is_the_same() {
    let mut slots = Slots::new(LARGE);
    let (web, dns): (Arc<str>, Arc<str>) = ("web".into(), "dns".into());
    for (service, port) in [(&web, 1), (&web, 2), (&dns, 1)] {
        slots.backend(service, server(port)).unwrap();
        slots.load(server(port)).unwrap();
    }
    slots.service(&web, Family::V4).unwrap();
    slots.service(&dns, Family::V6).unwrap();
    assert!(slots.have_changed());
    slots.mark_noted();
    assert!(!slots.have_changed());
    let text = serde_json::to_string(&slots.assigned()).unwrap();
    let mut slots = Slots::resume(LARGE, &serde_json::from_str(&text).unwrap());
    assert_eq!(slots.service(&dns, Family::V6), Ok(1));
    assert_eq!(slots.backend(&dns, server(1)), Ok(2));
    assert_eq!(slots.backend(&web, server(2)), Ok(1));
    assert_eq!(slots.load(server(2)), Ok(LoadSlot(1)));
    assert!(!slots.have_changed());
    assert_eq!(slots.load(server(3)), Ok(LoadSlot(2)), "nobody's");
}

#[test]
fn a_resumed_holder_that_nobody_wants_is_let_go() {
    let assigned = Assigned { loads: vec![(server(1), 0), (server(2), 3)], ..Assigned::default() };
    let mut slots = Slots::resume(LARGE, &assigned);
    for _ in 0..2 {
        slots.load(server(2)).unwrap();
        slots.release(|_| false);
    }
    assert_eq!(slots.load(server(5)), Ok(LoadSlot(0)));
    assert_eq!(slots.load(server(6)), Ok(LoadSlot(1)), "a hole");
    assert_eq!(slots.load(server(2)), Ok(LoadSlot(3)));
}

#[test]
fn what_contradicts_itself_is_not_resumed() {
    let loads = vec![(server(1), 1), (server(2), 1), (server(1), 2), (server(3), 8)];
    let slots = Slots::resume(LARGE, &Assigned { loads, ..Assigned::default() });
    assert_eq!(slots.assigned().loads, [(server(1), 1)]);
}

#[test]
fn who_holds_what_can_be_seen_in_the_tables() {
    let key = VipKey::new(Address::v4([203, 0, 113, 1]), 7000_u16.to_be_bytes(), 6);
    let backend = |port: u16, load| Backend {
        address: Address::v4([10, 0, 0, 1]),
        port: port.to_be_bytes(),
        load,
        ..Backend::default()
    };
    let contents = [
        Command::SetBackend { id: 4, backend: backend(1, 2) },
        Command::SetBackend { id: 5, backend: backend(9, 3) },
        Command::WriteRing { offset: 1, words: vec![4, 4, 4, 1, 4] },
        Command::SetRing { service: 1, ring: Ring::new(1, 3) },
        Command::SetRing { service: 3, ring: Ring::new(1, 3) },
        Command::SetVip(key, Vip { service: 1, path: path::STEER }),
    ];
    let tables = Tables::holding(LARGE.rings, &contents);
    let ports = vec![port(7000, &[])];
    let service = service("web", &["203.0.113.1"], ports, &["10.0.0.1:1", "10.0.0.1:2"]).service;
    let mut slots = Slots::rebuild(LARGE, &tables, &[service], |slot| slot == LoadSlot(5));
    let (web, dns): (Arc<str>, Arc<str>) = ("web".into(), "dns".into());
    assert_eq!(slots.service(&web, Family::V4), Ok(1));
    assert_eq!(slots.backend(&web, server(1)), Ok(4));
    assert_eq!(slots.load(server(1)), Ok(LoadSlot(2)));
    assert_eq!(slots.load(server(9)), Ok(LoadSlot(3)));
    // The rest goes around what somebody unknown has.
    assert_eq!([0, 2].map(Ok), [&web, &dns].map(|name| slots.service(name, Family::V6)));
    assert_eq!(slots.service(&dns, Family::V4), Ok(4));
    assert_eq!(
        [0, 1, 2, 3, 6].map(Ok),
        [11, 12, 13, 14, 15].map(|n| slots.backend(&dns, server(n)))
    );
    assert_eq!(
        [0, 1, 4, 6].map(|id| Ok(LoadSlot(id))),
        [11, 12, 13, 14].map(|n| slots.load(server(n)))
    );
}
