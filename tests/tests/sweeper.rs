//! The flow table in mapped memory, and what the sweeper makes of it.

use std::{collections::HashSet, time::Duration};

use lb::{
    datapath::{Datapath, DatapathConfig, Population, clock},
    load::LoadSlot,
    settings::FlowTimeouts,
};
use lb_common::{
    abi::{Address, Flow, flow_state, mode},
    tables::Part,
};
use lb_tests::kernel::object::{load, small, timeouts};

use Part::{Established, Pending};

const SECOND: u64 = 1_000_000_000;
const TCP: u32 = 6;
/// Flow states as the kernel program leaves them.
const HALF_OPEN: u32 = flow_state::COUNTED;
const CONFIRMED: u32 = flow_state::COUNTED | flow_state::CONFIRMED;
const CLOSED: u32 = flow_state::CONFIRMED | flow_state::CLOSED;

/// The flow of client number `client`, silent since `seen`.
fn flow(client: u32, load: u32, seen: u64) -> Flow {
    let [_, a, b, c] = client.to_be_bytes();
    Flow {
        protocol: TCP,
        client: Address::v4([100, a, b, c]),
        vip: Address::v4([203, 0, 113, 1]),
        client_port: [9, 9],
        vip_port: [0, 80],
        backend_port: [1, 1],
        source_port: [8, 0],
        backend_address: Address::v4([10, 1, c, 2]),
        source: Address::v4([10, 0, a, b]),
        load,
        seen,
        ..Flow::default()
    }
}

fn enter(datapath: &Datapath, part: Part, state: u32, flow: &Flow) -> u32 {
    let number = datapath.flows.enter(part, state, flow, clock::now());
    number.expect("room for the flow")
}

const fn population(established: u64, half_open: u64, closed: u64) -> Population {
    Population { established, half_open, closed }
}

#[test]
fn every_flow_is_seen_once_and_whole() {
    let datapath = load(&small());
    assert_eq!(datapath.flows.iter().count(), 0);
    let mut entered = HashSet::new();
    for client in 0..1000 {
        let part = if client % 4 == 0 { Pending } else { Established };
        let flow = flow(client, client % 7, 5);
        // A full bucket takes no more: rare at this load, and none of this test's concern.
        if datapath.flows.enter(part, HALF_OPEN, &flow, clock::now()).is_some() {
            entered.insert(flow.client);
        }
    }
    assert!(entered.len() > 950, "{}", entered.len());
    assert_eq!(datapath.flows.answers(), entered.len());
    let mut seen = HashSet::new();
    for (part, slot, found) in datapath.flows.iter() {
        assert!(seen.insert(found.client), "twice: {found:?}");
        assert_eq!(slot.state(), HALF_OPEN | flow_state::OPEN);
        let [.., a, b, c] = found.client.bytes();
        let client = u32::from_be_bytes([0, a, b, c]);
        assert_eq!(part, if client.is_multiple_of(4) { Pending } else { Established });
        let Flow { number, slot, sequence, .. } = found;
        assert_eq!(found, Flow { number, slot, sequence, ..flow(client, client % 7, 5) });
    }
    assert_eq!(seen, entered);
    datapath.flows.clear();
    assert_eq!((datapath.flows.iter().count(), datapath.flows.answers()), (0, 0));
}

#[test]
fn a_flow_has_one_place() {
    let datapath = load(&small());
    let flow = flow(1, 0, 5);
    enter(&datapath, Established, CONFIRMED, &flow);
    let again = datapath.flows.enter(Established, CONFIRMED, &flow, clock::now());
    assert_eq!(again, None, "its fingerprint stands there");
    // The other part has room, but the backend's answers lead to the first.
    assert_eq!(datapath.flows.enter(Pending, HALF_OPEN, &flow, clock::now()), None);
    assert_eq!((datapath.flows.iter().count(), datapath.flows.answers()), (1, 1));
}

#[test]
fn the_sweeper_expires_by_state_and_empties_the_counts() {
    let mut datapath = load(&small());
    let load = datapath.load.clone();
    let start = clock::now();
    for (client, slot, part, state) in [
        (1, 5, Pending, HALF_OPEN),
        (2, 5, Established, CONFIRMED),
        (3, 6, Established, CONFIRMED | flow_state::CLIENT_FIN),
        (4, 6, Established, CLOSED),
    ] {
        enter(&datapath, part, state, &flow(client, slot, start));
    }
    load.correct(LoadSlot(5), 2);
    load.correct(LoadSlot(6), 1);
    let _permit = load.enter(LoadSlot(6));

    let sweep = datapath.sweeper.sweep(start + SECOND);
    assert_eq!((sweep.population, sweep.expired), (population(2, 1, 1), 0));
    assert_eq!((sweep.flows[5], sweep.flows[6]), (2, 1));
    let sweep = datapath.sweeper.sweep(start + 11 * SECOND);
    assert_eq!((sweep.population, sweep.expired), (population(2, 1, 0), 1));
    assert_eq!(load.count(LoadSlot(6)), 2, "who closes a flow counts it out, not who ends it");
    let sweep = datapath.sweeper.sweep(start + 31 * SECOND);
    assert_eq!((sweep.population, sweep.expired), (population(2, 0, 0), 1));
    assert_eq!(load.count(LoadSlot(5)), 1);
    let sweep = datapath.sweeper.sweep(start + 3601 * SECOND);
    assert_eq!((sweep.population, sweep.expired, sweep.orphans), (population(0, 0, 0), 2, 0));
    assert_eq!(load.count(LoadSlot(5)), 0);
    assert_eq!(load.count(LoadSlot(6)), 1, "the proxy's own stays");
    assert_eq!(datapath.flows.iter().count(), 0);
    assert_eq!(datapath.flows.answers(), 0, "answers go with their flows");
}

#[test]
fn a_service_has_timeouts_of_its_own() {
    let mut datapath = load(&small());
    let start = clock::now();
    let node = timeouts();
    let short = FlowTimeouts { established: Duration::from_secs(5), ..node };
    datapath.lifetimes.set(node, [(7, short)]);
    for (client, service) in [(1, 7), (2, 8)] {
        enter(&datapath, Established, CONFIRMED, &Flow { service, ..flow(client, 0, start) });
    }
    datapath.load.correct(LoadSlot(0), 2);
    assert_eq!(datapath.sweeper.sweep(start + 4 * SECOND).expired, 0);
    assert_eq!(datapath.sweeper.sweep(start + 6 * SECOND).expired, 1);
    assert_eq!(datapath.flows.iter().next().map(|(_, _, flow)| flow.service), Some(8));
    datapath.lifetimes.set(short, []);
    assert_eq!(datapath.sweeper.sweep(start + 6 * SECOND).expired, 1, "the node's own");
}

#[test]
fn a_question_and_its_answer_are_soon_forgotten() {
    let mut datapath = load(&small());
    let start = clock::now();
    let udp = |client, answered| Flow { protocol: 17, answered, ..flow(client, 0, start) };
    enter(&datapath, Pending, HALF_OPEN, &udp(1, start));
    enter(&datapath, Pending, HALF_OPEN, &udp(2, 0));
    enter(&datapath, Established, CONFIRMED, &udp(3, start));
    datapath.load.correct(LoadSlot(0), 3);
    for (seconds, left) in [(9, 3), (11, 2), (29, 2), (31, 1), (59, 1), (61, 0)] {
        datapath.sweeper.sweep(start + seconds * SECOND);
        assert_eq!(datapath.flows.iter().count(), left, "after {seconds} s");
    }
}

#[test]
fn a_packet_of_either_direction_keeps_a_flow() {
    let mut datapath = load(&small());
    let start = clock::now();
    let answered = start + 20 * SECOND;
    enter(&datapath, Pending, HALF_OPEN, &Flow { answered, ..flow(1, 0, start) });
    datapath.load.correct(LoadSlot(0), 1);
    let sweep = datapath.sweeper.sweep(start + 40 * SECOND);
    assert_eq!((sweep.population.half_open, sweep.expired), (1, 0));
    let sweep = datapath.sweeper.sweep(start + 51 * SECOND);
    assert_eq!((sweep.population.half_open, sweep.expired), (0, 1));
}

#[test]
fn what_closed_flows_name_is_known() {
    let mut datapath = load(&small());
    let start = clock::now();
    let closed = Flow { backend: 77, service: 5, ..flow(1, 0, start) };
    enter(&datapath, Established, CLOSED, &closed);
    let named = datapath.sweeper.sweep(start + SECOND).referenced_ids;
    assert!(named.has_backend(77) && named.has_service(5));
    assert!(!named.has_backend(76) && !named.has_service(77));
    datapath.sweeper.sweep(start + 11 * SECOND);
    let named = datapath.sweeper.sweep(start + 12 * SECOND).referenced_ids;
    assert!(!named.has_backend(77) && !named.has_service(5));
}

/// Whose packets are looked at one by one (QUIC's, and contested ones) have their ports as well.
#[test]
fn source_ports_are_counted_by_protocol() {
    const UDP: u32 = 17;
    let datapath = load(&small());
    let nat = |client| Flow { mode: mode::NAT as u8, opened: SECOND, ..flow(client, 3, SECOND) };
    enter(&datapath, Established, CONFIRMED, &nat(1));
    enter(&datapath, Established, CONFIRMED, &Flow { watched: 1, overhead: 20, ..nat(2) });
    enter(&datapath, Pending, HALF_OPEN, &Flow { protocol: UDP, watched: 1, ..nat(3) });
    enter(&datapath, Established, CONFIRMED, &Flow { mode: mode::L2 as u8, ..nat(4) });
    let Datapath { mut sweeper, .. } = datapath;
    let sweep = sweeper.sweep(2 * SECOND);
    assert_eq!((sweep.ports[3], sweep.answers[3].unanswered), ([2, 1], 0));
    assert_eq!(sweeper.sweep(SECOND * 5).answers[3].unanswered, 2);
}

#[test]
fn a_place_is_free_again_for_the_next_flow() {
    let mut datapath = load(&small());
    let start = clock::now();
    let first = flow(1, 0, start);
    let number = enter(&datapath, Established, CONFIRMED, &first);
    datapath.load.correct(LoadSlot(0), 1);
    assert_eq!(datapath.sweeper.sweep(start + 3601 * SECOND).expired, 1);
    let before = datapath.flows.iter().next();
    assert!(before.is_none(), "{before:?}");
    assert_eq!(enter(&datapath, Established, CONFIRMED, &first), number);
}

#[test]
fn a_slot_that_is_being_written_is_left_alone_unless_its_writer_is_gone() {
    let mut datapath = load(&small());
    let start = clock::now();
    let held = CONFIRMED | flow_state::CLAIMED;
    enter(&datapath, Established, held, &flow(1, 3, start));
    let sweep = |datapath: &mut Datapath, seconds| datapath.sweeper.sweep(start + seconds * SECOND);
    // However old the flow: it is the writer who must not change.
    for seconds in [4000, 4001, 4010] {
        let swept = sweep(&mut datapath, seconds);
        assert_eq!((swept.expired, datapath.flows.iter().count()), (0, 1), "after {seconds} s");
    }
    sweep(&mut datapath, 4011);
    assert_eq!(datapath.flows.iter().count(), 0);
    sweep(&mut datapath, 4012);
    assert_eq!(datapath.flows.answers(), 0, "its answer was an orphan");
}

#[test]
fn answers_that_lead_nowhere_go_when_seen_twice() {
    let mut datapath = load(&small());
    let start = clock::now();
    let kept = flow(1, 0, start);
    enter(&datapath, Established, CONFIRMED, &kept);
    datapath.load.correct(LoadSlot(0), 1);
    // Of a flow that has another port by now: its slot is open, but its answers fall elsewhere.
    datapath.flows.enter_answer(&Flow { source_port: [8, 1], ..kept }, 0);
    // Of a flow that is gone.
    datapath.flows.enter_answer(&flow(2, 0, start), 77);
    assert_eq!(datapath.flows.answers(), 3);
    assert_eq!(datapath.sweeper.sweep(start).orphans, 0, "they may be of flows that just open");
    let sweep = datapath.sweeper.sweep(start + SECOND);
    assert_eq!((sweep.orphans, sweep.population), (2, population(1, 0, 0)));
    assert_eq!(datapath.flows.answers(), 1);
}

#[test]
fn a_drifted_count_is_put_right_in_the_second_sweep() {
    let mut datapath = load(&small());
    let load = datapath.load.clone();
    enter(&datapath, Pending, HALF_OPEN, &flow(1, 9, clock::now()));
    load.correct(LoadSlot(9), 4);
    load.correct(LoadSlot(10), -1);
    let _permit = load.enter(LoadSlot(9));
    let sweep = datapath.sweeper.sweep(clock::now());
    assert_eq!((sweep.corrected, load.count(LoadSlot(9))), (0, 5));
    let sweep = datapath.sweeper.sweep(clock::now());
    assert_eq!(sweep.corrected, 2);
    assert_eq!((load.count(LoadSlot(9)), load.count(LoadSlot(10))), (2, 0));
    let sweep = datapath.sweeper.sweep(clock::now());
    assert_eq!(sweep.corrected, 0);
}

#[test]
fn a_million_flows_are_swept() {
    let million = DatapathConfig { max_flows: 1 << 20, ..small() };
    let mut datapath = load(&million);
    let start = clock::now();
    let mut entered = [0; 7];
    for client in 0..1_000_000 {
        let slot = client % 7;
        let flow = flow(client, slot, start);
        if datapath.flows.enter(Established, CONFIRMED, &flow, start).is_some() {
            entered[slot as usize] += 1;
        }
    }
    let flows: u64 = entered.iter().sum();
    println!("{flows} of 1000000 found room");
    assert!(flows > 980_000, "{flows}");
    for (slot, &flows) in (0..).zip(&entered) {
        datapath.load.correct(LoadSlot(slot), flows.cast_signed());
    }
    let sweep = timed("all lively", || datapath.sweeper.sweep(start));
    assert_eq!((sweep.population, sweep.expired), (population(flows, 0, 0), 0));
    assert_eq!(sweep.flows[..7], entered);
    let sweep = timed("all silent", || datapath.sweeper.sweep(start + 60 * SECOND));
    assert_eq!((sweep.population, sweep.expired), (population(flows, 0, 0), 0));
    let sweep = timed("all over", || datapath.sweeper.sweep(start + 3601 * SECOND));
    assert_eq!((sweep.population, sweep.expired, sweep.orphans), (population(0, 0, 0), flows, 0));
    timed("empty", || datapath.sweeper.sweep(start + 3602 * SECOND));
    assert_eq!((datapath.flows.iter().count(), datapath.flows.answers()), (0, 0));
    assert!((0..7).all(|slot| datapath.load.count(LoadSlot(slot)) == 0));
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = std::time::Instant::now();
    let result = work();
    println!("{what}: {:?}", start.elapsed());
    result
}
