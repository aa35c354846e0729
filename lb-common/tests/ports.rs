//! Our ends towards backends, addresses and ports: who gets which, and what happens when there are
//! no more.

use std::{collections::BTreeSet, net::SocketAddr};

use lb_common::{
    abi::{Address, Flow},
    pipeline::balance,
    tables::Part,
    testing::{
        Frame, Model,
        buffer::Buffer,
        frames::{Link, tcp, udp},
        model::Count,
        world::{self, BACKENDS, CLIENTS, SOURCES, VIPS, limits},
    },
    verdict::{Reason, Verdict},
};

/// Steered, TCP and UDP, to one backend.
const PORT: u16 = limits::P2C_PORT;
const FIRST: u16 = 2048;
const SECOND: u64 = 1_000_000_000;

fn model(ports: u16) -> Model {
    let mut model = world::model_of(256, 1 << 40);
    model.source_ports = (FIRST, ports);
    model
}

fn client(family: usize, nth: u16) -> SocketAddr {
    SocketAddr::new(world::ip(CLIENTS[family]), 20_000 + nth)
}

fn send(model: &Model, frame: &Frame) -> Verdict {
    model.now.add(1);
    balance(&mut Buffer::new(&frame.0), model)
}

fn syn(model: &Model, family: usize, nth: u16, port: u16) -> Verdict {
    let vip = world::socket(VIPS[family], port);
    send(model, &tcp(Link::default(), client(family, nth), vip, "S", b""))
}

fn ask(model: &Model, nth: u16) -> Verdict {
    let vip = world::socket(VIPS[0], PORT);
    send(model, &udp(Link::default(), client(0, nth), vip, b"query"))
}

fn flow(model: &Model, client: SocketAddr) -> Option<Flow> {
    let flows = [Part::Pending, Part::Established].into_iter().flat_map(|part| model.flows(part));
    let mut flows = flows.map(|(_, flow)| flow);
    flows.find(|flow| {
        flow.client == Address::of(client.ip()) && flow.client_port == client.port().to_be_bytes()
    })
}

/// Both ends of what a client's flow is to its backend.
fn ends(model: &Model, family: usize, nth: u16) -> [SocketAddr; 2] {
    let flow = flow(model, client(family, nth)).expect("a flow of this client");
    let end = |address: Address, port| {
        let address = std::net::IpAddr::from(address.bytes()).to_canonical();
        SocketAddr::new(address, u16::from_be_bytes(port))
    };
    [end(flow.backend_address, flow.backend_port), end(flow.source, flow.source_port)]
}

fn source_of(model: &Model, family: usize, nth: u16) -> SocketAddr {
    ends(model, family, nth)[1]
}

/// A segment from the backend of a client's flow, with these flags.
fn back(model: &Model, family: usize, nth: u16, flags: &str) -> Verdict {
    let [backend, source] = ends(model, family, nth);
    send(model, &tcp(Link::default(), backend, source, flags, b""))
}

fn answer(model: &Model, nth: u16) -> Verdict {
    let [backend, source] = ends(model, 0, nth);
    send(model, &udp(Link::default(), backend, source, b"answer"))
}

fn is_steered(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Steer { .. })
}

#[test]
fn the_port_of_the_flow_that_ended_first_is_the_first_to_be_taken_again() {
    let model = model(8);
    (0..8).for_each(|nth| assert!(is_steered(syn(&model, 0, nth, PORT)), "{nth}"));
    let sources: Vec<_> = (0..8).map(|nth| source_of(&model, 0, nth)).collect();
    assert_eq!(sources.iter().collect::<BTreeSet<_>>().len(), 8);
    let ended = [5, 2, 7];
    for nth in ended {
        back(&model, 0, nth as u16, "RA");
        model.now.add(SECOND);
    }
    for (nth, ended) in (10..).zip(ended) {
        assert!(is_steered(syn(&model, 0, nth, PORT)));
        assert_eq!(source_of(&model, 0, nth), sources[ended], "flow {nth}");
        assert_eq!(flow(&model, client(0, ended as u16)), None, "its place is another's");
    }
    assert_eq!(syn(&model, 0, 20, PORT), Verdict::Answer(Reason::PortsExhausted));
    assert_eq!((model.load[0].get(), model.answers()), (8, 8));
}

/// Who closes first waits, and takes a new connection from the same end if that begins with a later
/// number.
#[test]
fn an_end_is_taken_again_where_the_server_s_time_wait_allows_it() {
    let vip = world::socket(VIPS[0], PORT);
    let come = |model: &Model, nth, flags, number| {
        let frame = tcp(Link::default(), client(0, nth), vip, flags, b"").sequenced(number);
        assert!(is_steered(send(model, &frame)), "{flags} of {nth}");
    };
    for (ports, far) in [(4, 0x8000_0000_u32), (300, 0x7000_0000)] {
        let model = model(ports);
        let begins = |nth: u16| far.wrapping_sub(u32::from(nth).wrapping_mul(0x1000_0000));
        (0..ports).for_each(|nth| come(&model, nth, "S", begins(nth)));
        let sources: Vec<_> = (0..ports).map(|nth| source_of(&model, 0, nth)).collect();
        for nth in 0..4 {
            come(&model, nth, "A", begins(nth));
            back(&model, 0, nth, "FA");
            come(&model, nth, "FA", begins(nth));
            model.now.add(SECOND);
        }
        // Of few, the first to end is the last whose number is passed. Of many, it has had its
        // turn.
        let (third, cases) = if ports == 4 { (0, 4) } else { (3, 3) };
        let taken = [
            (ports, begins(1) + 0x2_0000, 1),
            (ports + 1, begins(2) + 0x2_0000, 2),
            (ports + 2, begins(3) + 0xffff, third),
            (ports + 3, begins(3) + 0x1_0000, 3),
        ];
        for (nth, number, taken) in taken.into_iter().take(cases) {
            come(&model, nth, "S", number);
            assert_eq!(source_of(&model, 0, nth), sources[taken], "{ports} ports, {nth}");
        }
    }
}

#[test]
fn a_closed_flow_keeps_its_port_while_another_is_free() {
    let model = model(16);
    assert!(is_steered(syn(&model, 0, 0, PORT)));
    back(&model, 0, 0, "RA");
    (1..16).for_each(|nth| assert!(is_steered(syn(&model, 0, nth, PORT)), "{nth}"));
    assert!(flow(&model, client(0, 0)).is_some());
    assert!(is_steered(syn(&model, 0, 16, PORT)));
    assert!(flow(&model, client(0, 0)).is_none());
}

#[test]
fn a_question_that_was_answered_gives_way_and_no_other() {
    let model = model(4);
    (0..4).for_each(|nth| assert!(is_steered(ask(&model, nth)), "{nth}"));
    assert_eq!(ask(&model, 4), Verdict::Drop(Reason::PortsExhausted));
    let other = source_of(&model, 0, 2);
    for nth in [1, 2] {
        assert!(is_steered(answer(&model, nth)));
    }
    // A client that goes on after the answer has a conversation.
    assert!(is_steered(ask(&model, 1)));
    assert!(is_steered(ask(&model, 5)));
    assert_eq!(source_of(&model, 0, 5), other);
    assert_eq!(ask(&model, 6), Verdict::Drop(Reason::PortsExhausted));
    assert!(is_steered(answer(&model, 1)), "still led to its client");
    assert_eq!(model.exhausted.get(), 2);
    assert_eq!((model.load[0].get(), model.answers()), (4, 4));
}

#[test]
fn many_times_more_questions_than_ports_are_answered_within_no_time() {
    const PORTS: u16 = 64;
    let model = model(PORTS);
    for nth in 0..2_000 {
        assert!(is_steered(ask(&model, nth)), "question {nth}");
        // The server takes its time: half of the ports wait for an answer.
        if let Some(earlier) = nth.checked_sub(PORTS / 2) {
            assert!(is_steered(answer(&model, earlier)), "{earlier}");
        }
    }
    assert_eq!((model.exhausted.get(), model.answers()), (0, usize::from(PORTS)));
}

#[test]
fn a_large_range_that_is_full_is_gone_through_in_turn() {
    const PORTS: u16 = 800;
    let mut model = world::model_of(1024, 1 << 40);
    model.source_ports = (FIRST, PORTS);
    (0..PORTS).for_each(|nth| assert!(is_steered(ask(&model, nth)), "{nth}"));
    let sources: Vec<_> = (0..PORTS).map(|nth| source_of(&model, 0, nth)).collect();
    let answered = [700, 701, 300];
    for nth in answered {
        assert!(is_steered(answer(&model, nth as u16)));
    }
    // Part of it is looked at for one flow, and the next ones for the next.
    let mut taken = BTreeSet::new();
    for nth in PORTS..PORTS + 20 {
        if is_steered(ask(&model, nth)) {
            taken.insert(source_of(&model, 0, nth));
        }
    }
    assert_eq!(taken, answered.map(|nth| sources[nth]).into());
}

#[test]
fn where_one_backend_has_no_port_another_takes_the_flow() {
    for port in [limits::MOVE_PORT, limits::KEPT_PORT, limits::RESET_PORT] {
        let model = model(10);
        (0..20).for_each(|nth| assert!(is_steered(syn(&model, 0, nth, port)), "{port}: {nth}"));
        assert_eq!(syn(&model, 0, 20, port), Verdict::Answer(Reason::PortsExhausted), "{port}");
        assert_eq!([model.load[0].get(), model.load[2].get()], [10, 10], "{port}");
        assert_eq!((model.exhausted.get(), model.claimed(Part::Pending)), (1, 0), "{port}");
        // The families have ports of their own.
        assert!(is_steered(syn(&model, 1, 0, port)));
        back(&model, 0, 3, "RA");
        assert_eq!(model.load.iter().map(Count::get).sum::<u64>(), 20, "{port}");
        assert!(is_steered(syn(&model, 0, 20, port)), "{port}");
    }
}

#[test]
fn addresses_take_turns_and_each_has_all_ports() {
    const PORTS: u16 = 10;
    let mut model = model(PORTS);
    let more = ["10.2.0.2", "10.2.0.3", "fd00:2::2", "fd00:2::3"].map(world::ip);
    let pool = [&[world::ip("10.9.9.9"), world::ip(SOURCES[0])], &more[..2]].concat();
    let pool = [&pool[..], &[world::ip(SOURCES[1])], &more[2..]].concat();
    model.source_pool = pool.iter().copied().map(Address::of).collect();
    for (family, first) in [(0, 1), (1, 4)] {
        let backend = world::ip(BACKENDS[family]);
        for it in model.backends.iter_mut().filter(|it| it.address == Address::of(backend)) {
            (it.pool, it.sources) = (first, 3);
        }
    }
    for family in [0, 1] {
        for nth in 0..3 * PORTS {
            assert!(is_steered(syn(&model, family, nth, PORT)), "{nth}");
        }
        let refused = Verdict::Answer(Reason::PortsExhausted);
        assert_eq!(syn(&model, family, 3 * PORTS, PORT), refused);
        let sources: Vec<_> = (0..3 * PORTS).map(|nth| source_of(&model, family, nth)).collect();
        assert_eq!(sources.iter().collect::<BTreeSet<_>>().len(), 30);
        let first = sources[..3].iter().map(SocketAddr::ip).collect::<BTreeSet<_>>();
        assert_eq!(first, pool[1 + 3 * family..][..3].iter().copied().collect());
        for nth in 0..3 * PORTS {
            let verdict = back(&model, family, nth, "SA");
            assert!(is_steered(verdict), "answer to flow {nth}: {verdict:?}");
        }
    }
}
