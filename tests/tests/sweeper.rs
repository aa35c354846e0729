//! Walking the flow table, and what the sweeper makes of it.

use lb::{
    datapath::{Datapath, DatapathConfig, DatapathError, clock},
    load::LoadSlot,
};
use lb_common::abi::{Address, Flow, FlowKey, direction, flow_state};
use lb_tests::kernel::{load, small};

const SECOND: u64 = 1_000_000_000;
const TCP: u32 = 6;

/// Forward and reverse entry of one flow of client number `client`.
fn flow(client: u32, load: u32, state: u32, seen: u64) -> [(FlowKey, Flow); 2] {
    let [_, a, b, c] = client.to_be_bytes();
    let client = Address::v4([100, a, b, c]);
    let vip = Address::v4([203, 0, 113, 1]);
    let (ours, server) = (Address::v4([10, 0, a, b]), Address::v4([10, 1, c, 2]));
    let key =
        |src, src_port, dst, dst_port| FlowKey { src, dst, src_port, dst_port, protocol: TCP };
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
