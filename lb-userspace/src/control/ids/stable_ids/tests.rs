use super::*;

const CAPACITY: Capacity = Capacity { services: 2, backends: 2, loads: 2, rings: 0 };

fn server(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn settle(ids: &mut StableIds, has_connections: impl Fn(LoadSlot) -> bool) {
    ids.settle(Instant::now(), has_connections, |_, _| false);
}

#[test]
fn a_load_slot_with_connections_is_kept() {
    let mut ids = StableIds::new(CAPACITY);
    ids.claim_load(server(1)).unwrap();
    ids.release_load(server(1));
    for _ in 0..4 {
        settle(&mut ids, |slot| slot == LoadSlot(0));
    }
    assert_eq!(ids.load(server(2)), Ok(LoadSlot(1)));
    for _ in 0..3 {
        ids.load(server(2)).unwrap();
        settle(&mut ids, |slot| slot == LoadSlot(1));
    }
    assert_eq!(ids.load(server(3)), Ok(LoadSlot(0)));
}

#[test]
fn a_backend_with_connections_keeps_its_id() {
    let mut ids = StableIds::new(CAPACITY);
    let web: Arc<str> = "web".into();
    let load = ids.load(server(1)).unwrap();
    ids.backend(&web, server(1)).unwrap();
    ids.release_backend(&web, server(1));
    for _ in 0..4 {
        settle(&mut ids, |slot| slot == load);
    }
    assert_eq!(ids.backend_of(&web, server(1)), Some(0));
    assert!(ids.busy(|slot| slot == load).eq([server(1)]));
    for _ in 0..2 {
        settle(&mut ids, |_| false);
    }
    assert_eq!(ids.backend_of(&web, server(1)), None);
}

/// Its packets would follow the index to its next holder.
#[test]
fn an_index_that_a_closed_flow_names_is_nobody_elses() {
    for index in [Index::Service(0), Index::Backend(0)] {
        let mut ids = StableIds::new(LARGE);
        let (web, dns): (Arc<str>, Arc<str>) = ("web".into(), "dns".into());
        ids.service(&web, AddressFamily::V4).unwrap();
        ids.backend(&web, server(1)).unwrap();
        ids.release_service(&web, AddressFamily::V4);
        ids.release_backend(&web, server(1));
        for _ in 0..4 {
            ids.settle(Instant::now(), |_| false, |named, _| named == index);
        }
        let service = ids.service(&dns, AddressFamily::V4).unwrap();
        let backend = ids.backend(&dns, server(2)).unwrap();
        assert_eq!((service, backend), if index == Index::Service(0) { (1, 0) } else { (0, 1) });
    }
}

const LARGE: Capacity = Capacity { services: 8, backends: 8, loads: 8, rings: 16 };

#[test]
fn a_resumed_assignment_is_the_same() {
    let mut ids = StableIds::new(LARGE);
    let (web, dns): (Arc<str>, Arc<str>) = ("web".into(), "dns".into());
    for (service, port) in [(&web, 1), (&web, 2), (&dns, 1)] {
        ids.backend(service, server(port)).unwrap();
        ids.load(server(port)).unwrap();
    }
    ids.service(&web, AddressFamily::V4).unwrap();
    ids.service(&dns, AddressFamily::V6).unwrap();
    assert!(ids.have_changed());
    ids.mark_noted();
    assert!(!ids.have_changed());
    let text = serde_json::to_string(&ids.assigned()).unwrap();
    let mut ids = StableIds::resume(LARGE, &serde_json::from_str(&text).unwrap());
    assert_eq!(ids.service(&dns, AddressFamily::V6), Ok(1));
    assert_eq!(ids.backend(&dns, server(1)), Ok(2));
    assert_eq!(ids.backend(&web, server(2)), Ok(1));
    assert_eq!(ids.load(server(2)), Ok(LoadSlot(1)));
    assert!(!ids.have_changed());
    assert_eq!(ids.load(server(3)), Ok(LoadSlot(2)), "nobody's");
}

#[test]
fn a_resumed_holder_that_nobody_wants_is_let_go() {
    let assigned =
        IdAssignment { loads: vec![(server(1), 0), (server(2), 3)], ..IdAssignment::default() };
    let mut ids = StableIds::resume(LARGE, &assigned);
    ids.claim_load(server(2)).unwrap();
    for _ in 0..2 {
        settle(&mut ids, |_| false);
    }
    assert_eq!(ids.load(server(5)), Ok(LoadSlot(0)));
    assert_eq!(ids.load(server(6)), Ok(LoadSlot(1)), "a hole");
    assert_eq!(ids.load(server(2)), Ok(LoadSlot(3)));
}

#[test]
fn what_contradicts_itself_is_not_resumed() {
    let loads = vec![(server(1), 1), (server(2), 1), (server(1), 2), (server(3), 8)];
    let ids = StableIds::resume(LARGE, &IdAssignment { loads, ..IdAssignment::default() });
    assert_eq!(ids.assigned().loads, [(server(1), 1)]);
}

#[test]
fn unknown_holders_keep_their_places() {
    let mut tables = ActualTables::new(LARGE.rings);
    let backend = abi::Backend { load: 2, ..Default::default() };
    tables.apply(&crate::tables::Command::SetBackend { id: 4, backend });
    let service = abi::Service { challenge: 1, ..Default::default() };
    tables.apply(&crate::tables::Command::SetService { id: 1, service });
    let mut ids =
        StableIds::recover(LARGE, &tables, &IdAssignment::default(), |slot| slot == LoadSlot(5));
    let web: Arc<str> = "web".into();
    let services = [AddressFamily::V4, AddressFamily::V6].map(|family| ids.service(&web, family));
    assert_eq!(services, [Ok(0), Ok(2)]);
    let backends = [1, 2, 3, 4, 5].map(|n| ids.backend(&web, server(n)));
    assert_eq!(backends, [0, 1, 2, 3, 5].map(Ok));
    let loads = [1, 2, 3, 4, 5].map(|n| ids.load(server(n)));
    assert_eq!(loads, [0, 1, 3, 4, 6].map(|id| Ok(LoadSlot(id))));
}
