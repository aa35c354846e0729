use super::*;

const CAPACITY: Capacity = Capacity { services: 2, backends: 2, loads: 2, rings: 0 };

fn server(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn settle(slots: &mut StableIds, has_connections: impl Fn(LoadSlot) -> bool) {
    slots.settle(Instant::now(), has_connections, |_, _| false);
}

#[test]
fn a_load_slot_with_connections_is_kept() {
    let mut slots = StableIds::new(CAPACITY);
    slots.claim_load(server(1)).unwrap();
    slots.give_up_load(server(1));
    for _ in 0..4 {
        settle(&mut slots, |slot| slot == LoadSlot(0));
    }
    assert_eq!(slots.load(server(2)), Ok(LoadSlot(1)));
    for _ in 0..3 {
        slots.load(server(2)).unwrap();
        settle(&mut slots, |slot| slot == LoadSlot(1));
    }
    assert_eq!(slots.load(server(3)), Ok(LoadSlot(0)));
}

#[test]
fn a_backend_with_connections_keeps_its_id() {
    let mut slots = StableIds::new(CAPACITY);
    let web: Arc<str> = "web".into();
    let load = slots.load(server(1)).unwrap();
    slots.backend(&web, server(1)).unwrap();
    slots.give_up_backend(&web, server(1));
    for _ in 0..4 {
        settle(&mut slots, |slot| slot == load);
    }
    assert_eq!(slots.backend_of(&web, server(1)), Some(0));
    assert!(slots.busy(|slot| slot == load).eq([server(1)]));
    for _ in 0..2 {
        settle(&mut slots, |_| false);
    }
    assert_eq!(slots.backend_of(&web, server(1)), None);
}

/// Its packets would follow the index to whoever had it next.
#[test]
fn an_index_that_a_closed_flow_names_is_nobody_elses() {
    for index in [Index::Service(0), Index::Backend(0)] {
        let mut slots = StableIds::new(LARGE);
        let (web, dns): (Arc<str>, Arc<str>) = ("web".into(), "dns".into());
        slots.service(&web, Family::V4).unwrap();
        slots.backend(&web, server(1)).unwrap();
        slots.give_up_service(&web, Family::V4);
        slots.give_up_backend(&web, server(1));
        for _ in 0..4 {
            slots.settle(Instant::now(), |_| false, |named, _| named == index);
        }
        let service = slots.service(&dns, Family::V4).unwrap();
        let backend = slots.backend(&dns, server(2)).unwrap();
        assert_eq!((service, backend), if index == Index::Service(0) { (1, 0) } else { (0, 1) });
    }
}

const LARGE: Capacity = Capacity { services: 8, backends: 8, loads: 8, rings: 16 };

#[test]
fn a_resumed_assignment_is_the_same() {
    let mut slots = StableIds::new(LARGE);
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
    let mut slots = StableIds::resume(LARGE, &serde_json::from_str(&text).unwrap());
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
    let mut slots = StableIds::resume(LARGE, &assigned);
    slots.claim_load(server(2)).unwrap();
    for _ in 0..2 {
        settle(&mut slots, |_| false);
    }
    assert_eq!(slots.load(server(5)), Ok(LoadSlot(0)));
    assert_eq!(slots.load(server(6)), Ok(LoadSlot(1)), "a hole");
    assert_eq!(slots.load(server(2)), Ok(LoadSlot(3)));
}

#[test]
fn what_contradicts_itself_is_not_resumed() {
    let loads = vec![(server(1), 1), (server(2), 1), (server(1), 2), (server(3), 8)];
    let slots = StableIds::resume(LARGE, &Assigned { loads, ..Assigned::default() });
    assert_eq!(slots.assigned().loads, [(server(1), 1)]);
}

#[test]
fn unknown_holders_keep_their_places() {
    let mut tables = ActualTables::new(LARGE.rings);
    let backend = abi::Backend { load: 2, ..Default::default() };
    tables.apply(&crate::tables::Command::SetBackend { id: 4, backend });
    let service = abi::Service { challenge: 1, ..Default::default() };
    tables.apply(&crate::tables::Command::SetService { id: 1, service });
    let mut slots =
        StableIds::beyond(LARGE, &tables, &Assigned::default(), |slot| slot == LoadSlot(5));
    let web: Arc<str> = "web".into();
    let services = [Family::V4, Family::V6].map(|family| slots.service(&web, family));
    assert_eq!(services, [Ok(0), Ok(2)]);
    let backends = [1, 2, 3, 4, 5].map(|n| slots.backend(&web, server(n)));
    assert_eq!(backends, [0, 1, 2, 3, 5].map(Ok));
    let loads = [1, 2, 3, 4, 5].map(|n| slots.load(server(n)));
    assert_eq!(loads, [0, 1, 3, 4, 6].map(|id| Ok(LoadSlot(id))));
}
