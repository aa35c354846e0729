//! Flows that find no room among the established ones.

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    abi::{Address, Slot, counter, flow_state},
    flows::{entry, remove},
    pipeline::balance,
    tables::Part,
    testing::{
        Frame, Model,
        buffer::Buffer,
        frames::{Link, tcp},
        world::{self, CLIENTS, TCP_PORT, VIPS},
    },
    verdict::Verdict,
};

fn send(model: &Model, frame: &Frame) -> Verdict {
    balance(&mut Buffer::new(&frame.0), model)
}

fn segment(port: u16, flags: &str) -> Frame {
    let client = SocketAddr::new(world::ip(CLIENTS[0]), port);
    tcp(Link::default(), client, world::socket(VIPS[0], TCP_PORT), flags, b"")
}

/// A whole handshake.
fn open(model: &Model, port: u16) {
    assert!(matches!(send(model, &segment(port, "S")), Verdict::Steer { .. }));
    let pending = model.flows(Part::Pending);
    let of_client = pending.iter().find(|(_, flow)| flow.client_port == port.to_be_bytes());
    let (_, flow) = of_client.expect("a half-open flow");
    let socket = |address: Address, port| {
        SocketAddr::new(IpAddr::from(address.bytes()).to_canonical(), u16::from_be_bytes(port))
    };
    let backend = socket(flow.backend_address, flow.backend_port);
    let source = socket(flow.source, flow.source_port);
    let answer = tcp(Link::default(), backend, source, "SA", b"");
    // What SYN-ACK and ACK of one table frame agree on.
    send(model, &answer.patch(38, &[0, 0, 7, 207]));
    assert!(matches!(send(model, &segment(port, "A")), Verdict::Steer { .. }));
}

#[test]
fn a_crowded_flow_stays_as_an_established_one() {
    let model = world::model_of(1, 1 << 40);
    for port in 40_000..40_008 {
        open(&model, port);
    }
    assert_eq!(model.flows(Part::Established).len(), 8, "a bucket is full");
    open(&model, 40_008);
    let crowded = || -> Vec<Slot> {
        let slots = model.flows(Part::Pending).into_iter().map(|(slot, _)| slot);
        slots.filter(|slot| slot.has(flow_state::CONFIRMED)).collect()
    };
    assert_eq!(crowded().len(), 1);
    assert!(crowded()[0].has(flow_state::COUNTED));
    for _ in 0..3 {
        assert!(matches!(send(&model, &segment(40_008, "PA")), Verdict::Steer { .. }));
    }
    assert_eq!(model.counters[counter::CROWDED as usize].get(), 1, "a flow, not its packets");

    // A flood, and all of it newer.
    model.now.add(1_000_000_000);
    for port in 50_000..50_100 {
        send(&model, &segment(port, "S"));
        model.now.add(100_000_000);
    }
    assert_eq!(crowded().len(), 1, "only its like gives way to a SYN");

    // Those that were there first fall silent for long: there is room now.
    model.now.add(60_000_000_000);
    send(&model, &segment(40_008, "PA"));
    assert_eq!(crowded().len(), 0);
    let moved = model.flows(Part::Established);
    assert!(moved.iter().any(|(_, flow)| flow.client_port == 40_008_u16.to_be_bytes()));
    let counted: u64 = model.load.iter().map(lb_common::testing::model::Count::get).sum();
    assert_eq!(counted as usize, model.flows(Part::Pending).len() + moved.len());
}

/// Entries are taken in turn, and there are 128: whose turn it is would meet it seven times.
#[test]
fn who_waits_for_its_client_is_passed_over_while_there_is_room() {
    let model = world::model_of(16, 1 << 40);
    let half_open = |port: u16| {
        let pending = model.flows(Part::Pending);
        pending.into_iter().find(|(_, flow)| flow.client_port == port.to_be_bytes())
    };
    send(&model, &segment(40_000, "S"));
    for port in 50_000..51_000 {
        send(&model, &segment(port, "S"));
        let (_, flow) = half_open(port).expect("it was opened");
        assert!(remove(&model, entry(&model, flow.number).expect("its entry")));
    }
    assert!(half_open(40_000).is_some());
    assert_eq!(model.counters[counter::EVICTED_PENDING as usize].get(), 0);

    // A flood: none is free, and the oldest give way first, but for those of one bucket.
    for port in 50_000..50_300 {
        send(&model, &segment(port, "S"));
    }
    assert!(half_open(40_000).is_none());
    let left = (50_300 - 32..50_300).filter(|&port| half_open(port).is_some());
    assert_eq!(left.count(), 32, "the newest are there");
    assert!(model.flows(Part::Pending).len() <= 128);
}
