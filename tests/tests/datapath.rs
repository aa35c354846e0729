//! The loaded kernel object: attaching, tables, the shared counts, batches and the sweeper.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use lb::{
    datapath::{Datapath, DatapathConfig, DatapathError, clock},
    load::LoadSlot,
    settings::{FlowTimeouts, XdpMode},
    tables::Command,
};
use lb_common::abi::{
    Address, Backend, Flow, FlowKey, Service, Vip, VipKey, direction, flow_state, path,
};
use lb_tests::netns::Netns;

const SECOND: u64 = 1_000_000_000;
const TCP: u8 = 6;

fn timeouts() -> FlowTimeouts {
    FlowTimeouts {
        half_open: Duration::from_secs(30),
        established: Duration::from_secs(3600),
        closed: Duration::from_secs(10),
        udp: Duration::from_secs(60),
    }
}

/// Small tables: tests run beside each other.
fn small() -> DatapathConfig {
    DatapathConfig {
        max_flows: 4096,
        backends: 64,
        services: 16,
        vips: 64,
        ring_slots: 8192,
        load_slots: 1000,
        ..DatapathConfig::default()
    }
}

fn load(config: &DatapathConfig) -> Datapath {
    match Datapath::load(config, timeouts()) {
        Ok(datapath) => datapath,
        Err(error) => panic!("loading the kernel object: {error}"),
    }
}

fn namespace(purpose: &str) -> Netns {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let id = std::process::id();
    Netns::create(&format!("lbt-{purpose}-{id}-{number}")).expect("a namespace")
}

fn veth(netns: &Netns, mtu: u32) {
    let add = format!("link add v0 mtu {mtu} type veth peer name v1 mtu {mtu}");
    netns.ip(&add).expect("a veth pair");
    netns.ip("link set v0 up").expect("v0 up");
    netns.ip("link set v1 up").expect("v1 up");
}

/// Forward and reverse entry of one flow of client number `client`.
fn flow(client: u32, load: u32, state: u32, seen: u64) -> [(FlowKey, Flow); 2] {
    let [_, a, b, c] = client.to_be_bytes();
    let client = Address::v4([100, a, b, c]);
    let vip = Address::v4([203, 0, 113, 1]);
    let (ours, server) = (Address::v4([10, 0, a, b]), Address::v4([10, 1, c, 2]));
    let key = |src, src_port, dst, dst_port| FlowKey {
        src,
        dst,
        src_port,
        dst_port,
        protocol: TCP,
        pad: [0; 3],
    };
    let becomes = |src, src_port, dst, dst_port, direction| Flow {
        src,
        dst,
        src_port,
        dst_port,
        seen,
        load,
        state,
        direction,
        ..Flow::default()
    };
    [
        (
            key(client, [9, 9], vip, [0, 80]),
            becomes(ours, [8, 0], server, [1, 1], direction::FORWARD),
        ),
        (
            key(server, [1, 1], ours, [8, 0]),
            becomes(vip, [0, 80], client, [9, 9], direction::REVERSE),
        ),
    ]
}

fn enter(datapath: &Datapath, entries: &[(FlowKey, Flow)]) {
    for (key, flow) in entries {
        assert!(datapath.sweeper.flows().insert_new(key, flow).expect("insert"));
    }
}

fn entries(datapath: &Datapath) -> usize {
    let mut walk = datapath.sweeper.flows().walk();
    let mut found = 0;
    while let Some(batch) = walk.next_batch().expect("batch") {
        found += batch.count();
    }
    found
}

#[test]
fn maps_have_the_sizes_of_the_configuration() {
    let datapath = load(&small());
    assert_eq!(datapath.sweeper.flows().max_entries().expect("info"), 8192);
    assert_eq!(datapath.load.slots(), 1000);
    let verdicts = datapath.counters.verdicts().expect("counters");
    assert_eq!(verdicts.pass + verdicts.proxy + verdicts.steer + verdicts.reply, 0);
    assert!(verdicts.drops().all(|(_, count)| count == 0));
}

#[test]
fn the_program_counts_what_it_passes() {
    let mut datapath = load(&small());
    let frame = [0xff; 60];
    let trial = datapath.kernel.try_frame(&frame, 1).expect("test run");
    assert_eq!(trial.frame, frame);
    assert_eq!(datapath.counters.verdicts().expect("counters").pass, 1);
}

#[test]
fn native_xdp_attaches_once_and_ends_with_its_owner() {
    let netns = namespace("attach");
    veth(&netns, 1500);
    let shown = || netns.ip("link show v0").expect("link show");
    netns
        .within(|| {
            let mut first = load(&small());
            first.kernel.attach("v0", XdpMode::Native).expect("attach");
            first.kernel.attach("v1", XdpMode::Generic).expect("attach");
            let modes: Vec<_> = first.kernel.attached().collect();
            assert_eq!(modes, [("v0", "native"), ("v1", "generic")]);
            assert!(shown().contains("prog/xdp"));
            for mode in [XdpMode::Native, XdpMode::Generic, XdpMode::Auto] {
                let error = load(&small()).kernel.attach("v0", mode).unwrap_err();
                assert!(matches!(error, DatapathError::Occupied { .. }), "{error}");
            }
            first.kernel.detach();
            load(&small()).kernel.attach("v0", XdpMode::Auto).expect("attach");
            let error = first.kernel.attach("nope", XdpMode::Auto).unwrap_err();
            assert!(error.to_string().contains("`nope`"), "{error}");
        })
        .expect("namespace");
    assert!(!shown().contains("prog/xdp"), "left behind: {}", shown());
}

#[test]
fn a_large_mtu_is_explained_and_auto_falls_back() {
    let netns = namespace("mtu");
    veth(&netns, 9000);
    netns
        .within(|| {
            let mut datapath = load(&small());
            let error = datapath.kernel.attach("v0", XdpMode::Native).unwrap_err();
            assert!(error.to_string().contains("MTU"), "{error}");
            let error = datapath.kernel.attach("lo", XdpMode::Native).unwrap_err();
            assert!(error.to_string().contains("no native XDP"), "{error}");
            datapath.kernel.attach("v0", XdpMode::Auto).expect("auto");
            let modes: Vec<_> = datapath.kernel.attached().collect();
            assert_eq!(modes, [("v0", "generic")]);
        })
        .expect("namespace");
}

#[test]
fn sk_lookup_brings_any_port_of_an_address_to_the_listener() {
    let netns = namespace("lookup");
    netns.ip("route add local 203.0.113.9/32 dev lo").expect("route");
    netns
        .within(|| {
            let mut datapath = load(&small());
            let listener = TcpListener::bind("[::]:0").expect("listener");
            datapath.kernel.attach_listener(&listener).expect("attach");
            let address = Address::v4([203, 0, 113, 9]);
            let key = VipKey { address, port: 443_u16.to_be_bytes(), protocol: TCP, pad: [0; 5] };
            let vip = Vip { service: 0, path: path::PROXY };
            datapath.tables.apply(&Command::SetVip(key, vip)).expect("vip");
            let client = std::net::TcpStream::connect("203.0.113.9:443").expect("connect");
            let (accepted, _) = listener.accept().expect("accept");
            assert_eq!(
                accepted.local_addr().expect("address").to_string(),
                "[::ffff:203.0.113.9]:443"
            );
            drop(client);
            datapath.tables.apply(&Command::RemoveVip(key)).expect("vip");
            assert!(std::net::TcpStream::connect("203.0.113.9:443").is_err());
        })
        .expect("namespace");
}

#[test]
fn commands_reach_the_tables_and_their_ends_are_errors() {
    let mut datapath = load(&small());
    let backend = Backend { load: 3, ..Backend::default() };
    for command in [
        Command::SetBackend { id: 63, backend },
        // More than one batch.
        Command::WriteRing { offset: 7, slots: vec![63; 8000] },
        Command::SetService { id: 15, service: Service::new(7, 8000) },
        Command::AddAddress(Address::v4([203, 0, 113, 1])),
        Command::RemoveAddress(Address::v4([203, 0, 113, 1])),
        Command::RemoveAddress(Address::v4([203, 0, 113, 1])),
        Command::ClearBackend { id: 63 },
    ] {
        datapath.tables.apply(&command).unwrap_or_else(|e| panic!("{command:?}: {e}"));
    }
    for command in [
        Command::SetBackend { id: 64, backend },
        Command::WriteRing { offset: 8000, slots: vec![1; 193] },
    ] {
        let error = datapath.tables.apply(&command).unwrap_err();
        assert!(matches!(error, DatapathError::Full { .. }), "{error}");
    }
}

#[test]
fn a_walk_sees_every_entry_once() {
    let datapath = load(&small());
    assert_eq!(entries(&datapath), 0);
    for client in 0..4000 {
        enter(&datapath, &flow(client, 0, 0, 1));
    }
    let mut walk = datapath.sweeper.flows().walk();
    let mut seen = std::collections::HashSet::new();
    while let Some(batch) = walk.next_batch().expect("batch") {
        for (key, _) in batch {
            assert!(seen.insert(*key), "twice: {key:?}");
        }
    }
    assert_eq!(seen.len(), 8000);
}

#[test]
fn the_sweeper_expires_by_state_and_empties_the_counts() {
    let mut datapath = load(&small());
    let load = datapath.load.clone();
    let start = clock::now();
    let answered = flow_state::ANSWERED;
    for (client, slot, state) in [
        (1, 5, 0),
        (2, 5, answered),
        (3, 6, answered | flow_state::CLIENT_FIN),
        (4, 6, answered | flow_state::CLOSED),
    ] {
        enter(&datapath, &flow(client, slot, state, start));
    }
    load.correct(LoadSlot(5), 2);
    load.correct(LoadSlot(6), 1);
    let _permit = load.enter(LoadSlot(6));

    let sweep = datapath.sweeper.sweep(start + SECOND).expect("sweep");
    assert_eq!((sweep.live, sweep.closed, sweep.expired), (3, 1, 0));
    assert_eq!((sweep.flows[5], sweep.flows[6]), (2, 1));
    let sweep = datapath.sweeper.sweep(start + 11 * SECOND).expect("sweep");
    assert_eq!((sweep.live, sweep.closed, sweep.expired), (3, 0, 1));
    let sweep = datapath.sweeper.sweep(start + 31 * SECOND).expect("sweep");
    assert_eq!((sweep.live, sweep.expired), (2, 1));
    assert_eq!(load.count(LoadSlot(5)), 1);
    let sweep = datapath.sweeper.sweep(start + 3601 * SECOND).expect("sweep");
    assert_eq!((sweep.live, sweep.expired, sweep.orphans), (0, 2, 0));
    assert_eq!(load.count(LoadSlot(5)), 0);
    assert_eq!(load.count(LoadSlot(6)), 1, "the proxy's own stays");
    assert_eq!(entries(&datapath), 0, "reverse entries go with their flows");
}

#[test]
fn a_packet_of_either_direction_keeps_a_flow() {
    let mut datapath = load(&small());
    let start = clock::now();
    let [forward, mut reverse] = flow(1, 0, 0, start);
    reverse.1.seen = start + 20 * SECOND;
    enter(&datapath, &[forward, reverse]);
    datapath.load.correct(LoadSlot(0), 1);
    let sweep = datapath.sweeper.sweep(start + 40 * SECOND).expect("sweep");
    assert_eq!((sweep.live, sweep.expired), (1, 0));
    let sweep = datapath.sweeper.sweep(start + 51 * SECOND).expect("sweep");
    assert_eq!((sweep.live, sweep.expired), (0, 1));
}

#[test]
fn reverse_entries_without_their_flow_go() {
    let mut datapath = load(&small());
    let start = clock::now();
    let [_, alone] = flow(1, 0, 0, start);
    // The client's tuple was used again: its forward entry leads to another source port.
    let [mut reused, left] = flow(2, 0, 0, start);
    reused.1.src_port = [8, 1];
    enter(&datapath, &[alone, reused, left]);
    datapath.load.correct(LoadSlot(0), 1);
    let sweep = datapath.sweeper.sweep(start + SECOND / 2).expect("sweep");
    assert_eq!(sweep.orphans, 0, "it may be half of a flow that just opens");
    let sweep = datapath.sweeper.sweep(start + 2 * SECOND).expect("sweep");
    assert_eq!((sweep.orphans, sweep.live), (2, 1));
    assert_eq!(entries(&datapath), 1);
}

#[test]
fn a_drifted_count_is_put_right_in_the_second_sweep() {
    let mut datapath = load(&small());
    let load = datapath.load.clone();
    enter(&datapath, &flow(1, 9, 0, clock::now()));
    load.correct(LoadSlot(9), 4);
    load.correct(LoadSlot(10), -1);
    let _permit = load.enter(LoadSlot(9));
    let sweep = datapath.sweeper.sweep(clock::now()).expect("sweep");
    assert_eq!((sweep.corrected, load.count(LoadSlot(9))), (0, 5));
    let sweep = datapath.sweeper.sweep(clock::now()).expect("sweep");
    assert_eq!(sweep.corrected, 2);
    assert_eq!((load.count(LoadSlot(9)), load.count(LoadSlot(10))), (2, 0));
    let sweep = datapath.sweeper.sweep(clock::now()).expect("sweep");
    assert_eq!(sweep.corrected, 0);
}

#[test]
fn a_million_flows_are_swept() {
    let million = DatapathConfig { max_flows: 1_050_000, ..small() };
    let mut datapath = load(&million);
    let start = clock::now();
    for client in 0..1_000_000 {
        enter(&datapath, &flow(client, client % 7, flow_state::ANSWERED, start));
    }
    for slot in 0..7 {
        datapath.load.correct(LoadSlot(slot), i64::from((1_000_006 - slot) / 7));
    }
    let sweep = timed("all lively", || datapath.sweeper.sweep(start));
    assert_eq!((sweep.live, sweep.expired, sweep.orphans), (1_000_000, 0, 0));
    assert_eq!(sweep.flows.iter().sum::<u64>(), 1_000_000);
    let sweep = timed("all silent", || datapath.sweeper.sweep(start + 60 * SECOND));
    assert_eq!((sweep.live, sweep.expired, sweep.orphans), (1_000_000, 0, 0));
    let sweep = timed("all over", || datapath.sweeper.sweep(start + 3601 * SECOND));
    assert_eq!((sweep.live, sweep.expired, sweep.orphans), (0, 1_000_000, 0));
    assert_eq!(entries(&datapath), 0);
    assert!((0..7).all(|slot| datapath.load.count(LoadSlot(slot)) == 0));
}

fn timed<T>(what: &str, work: impl FnOnce() -> Result<T, DatapathError>) -> T {
    let start = std::time::Instant::now();
    let result = work().expect(what);
    println!("{what}: {:?}", start.elapsed());
    result
}
