//! Whatever comes, in whatever order, on however many CPUs: a flow that is open counts once, no
//! limit is passed, and no two flows share a source port.

use std::{collections::HashSet, net::SocketAddr, thread};

use lb_common::{
    abi::{Flow, PENDING, Slot, flow_state, mode, status},
    flows,
    pipeline::balance,
    prng::{STEP, scramble},
    tables::{Part, Tables},
    testing::{
        Frame, Model,
        buffer::Buffer,
        frames::{Link, tcp, udp},
        model::Count,
        world::{
            self, CLIENTS, QUIC_GONE, QUIC_PORT, QUIC_SERVER, TCP_PORT, UDP_PORT, VIPS, limits,
            members,
        },
    },
    verdict::{Reason, Verdict},
};

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(STEP);
        scramble(self.0) as usize % sides
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len())]
    }
}

fn send(model: &Model, frame: &Frame) -> Verdict {
    balance(&mut Buffer::new(&frame.0), model)
}

fn flows(model: &Model) -> Vec<(Slot, Flow)> {
    [Part::Pending, Part::Established].into_iter().flat_map(|part| model.flows(part)).collect()
}

/// Something happens: mostly a client's segment, an answer, or the end of a flow by the daemon.
fn act(model: &Model, dice: &mut Dice) {
    const PORTS: [u16; 8] = [
        TCP_PORT,
        UDP_PORT,
        limits::FULL_PORT,
        limits::SOFT_PORT,
        limits::LEAST_PORT,
        limits::RESET_PORT,
        limits::MOVE_PORT,
        limits::KEPT_PORT,
    ];
    let flags = dice.of(&["S", "S", "S", "A", "PA", "FA", "R", "RA"]);
    if dice.roll(50) == 0 {
        model.now.add(2_500_000_000);
    }
    match dice.roll(8) {
        0..5 => {
            let client = SocketAddr::new(world::ip(CLIENTS[0]), 40000 + dice.roll(96) as u16);
            let vip = world::socket(VIPS[0], dice.of(&PORTS));
            let frame = match dice.roll(5) {
                4 => {
                    let server = dice.of(&[QUIC_SERVER, QUIC_GONE, [1, 2, 3]]);
                    let payload = [&[0x43, 0x07], &server[..], &[9, 8, 7, 6], &[0x5e; 24]].concat();
                    udp(Link::default(), client, world::socket(VIPS[0], QUIC_PORT), &payload)
                }
                0 => udp(Link::default(), client, vip, b"query"),
                _ => tcp(Link::default(), client, vip, flags, b""),
            };
            send(model, &frame);
        }
        5..7 => {
            let source =
                world::socket(world::SOURCES[0], model.source_ports.0 + dice.roll(64) as u16);
            let backend = world::socket(world::BACKENDS[0], world::BACKEND_PORT);
            let flags = dice.of(&["SA", "SA", "PA", "FA", "R"]);
            // Promotion wants what SYN-ACK and ACK of one table frame agree on.
            send(
                model,
                &tcp(Link::default(), backend, source, flags, b"").patch(38, &[0, 0, 7, 207]),
            );
        }
        _ => {
            let part = dice.of(&[Part::Pending, Part::Established]);
            let number = dice.roll(8 * (model.slot_mask(part) as usize + 1)) as u32;
            let flow = model.flow(part, number).expect("an entry");
            // An entry that was never used does not know its place.
            if flow.number() & !PENDING == number {
                flows::remove(model, flow);
            }
        }
    }
}

fn check(model: &Model) {
    let open = flows(model);
    let mut counted = vec![0; model.load.len()];
    for (slot, flow) in &open {
        counted[flow.load as usize] += u64::from(slot.has(flow_state::COUNTED));
    }
    let load: Vec<u64> = model.load.iter().map(Count::get).collect();
    assert_eq!(load, counted, "LOAD, and what is open and counted");
    let mut ports = HashSet::new();
    for (_, flow) in &open {
        let answer = flow.answer();
        assert!(ports.insert(answer), "two flows are answered by {answer:?}");
    }
}

/// Small, so that flows evict each other and ports run out.
fn small() -> Model {
    let mut model = world::model_of(4, 1 << 40);
    model.source_ports = (2048, 64);
    model
}

fn fall(model: &mut Model, id: u32, status: u32) {
    model.reach[id as usize].get_mut().status = status;
}

#[test]
fn every_flow_counts_once() {
    let mut promoted = 0;
    for seed in 0..16 {
        let (mut model, mut dice) = (small(), Dice(seed));
        for round in 0..1500 {
            if round % 100 == 99 {
                let gone = dice.of(&[status::HERE, status::GONE, status::LEAVING]);
                members::falling().into_iter().for_each(|id| fall(&mut model, id, gone));
                model.now.add(7_000_000_000);
            }
            act(&model, &mut dice);
            promoted += usize::from(!model.flows(Part::Established).is_empty());
            check(&model);
        }
    }
    assert!(promoted > 500, "hardly a flow was established: {promoted}");
}

#[test]
fn cpus_that_race_count_every_flow_once_and_share_no_port() {
    for seed in 0..20 {
        let model = small();
        thread::scope(|scope| {
            for cpu in 0..4 {
                let model = &model;
                scope.spawn(move || {
                    let mut dice = Dice(seed << 8 | cpu);
                    (0..4000).for_each(|_| act(model, &mut dice));
                });
            }
        });
        check(&model);
        let nat = flows(&model).iter().filter(|(_, flow)| flow.mode() == mode::NAT).count();
        assert_eq!(model.answers(), nat, "answers that lead nowhere");
        let stuck = [Part::Pending, Part::Established].map(|part| model.claimed(part));
        assert_eq!(stuck, [0, 0], "places that nobody works on and nobody gets");
    }
}

#[test]
fn cpus_that_race_never_pass_a_hard_limit_and_leave_no_room_unused() {
    const CPUS: u16 = 4;
    const EACH: u16 = 60;
    for round in 0..20 {
        let mut model = world::model_of(1024, 1 << 40);
        let hard = 97 + round;
        for id in members::members(limits::LEAST_PORT, 0) {
            model.backends[id as usize].hard_limit = hard;
        }
        let opened = |cpu: u16| {
            let mut opened = 0;
            for nth in 0..EACH {
                let client = SocketAddr::new(world::ip(CLIENTS[0]), 20000 + cpu * EACH + nth);
                let vip = world::socket(VIPS[0], limits::LEAST_PORT);
                let syn = tcp(Link::default(), client, vip, "S", b"");
                let mut verdict = send(&model, &syn);
                while verdict == Verdict::Drop(Reason::RacedFlow) {
                    verdict = send(&model, &syn);
                }
                match verdict {
                    Verdict::Steer { .. } => opened += 1,
                    Verdict::Answer(Reason::BackendsFull) => {}
                    other => panic!("{other:?}"),
                }
            }
            opened
        };
        let opened: u32 = thread::scope(|scope| {
            let cpus: Vec<_> = (0..CPUS).map(|cpu| scope.spawn(move || opened(cpu))).collect();
            cpus.into_iter().map(|cpu| cpu.join().expect("no panic")).sum()
        });
        check(&model);
        assert_eq!(opened, 2 * hard, "two backends with {hard} each");
    }
}
