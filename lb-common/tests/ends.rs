//! Flows that go on after a RST or a FIN: they count again, no limit is passed, and each counts
//! once.

use std::net::SocketAddr;

use lb_common::{
    abi::{Flow, Slot, VipKey, counter, flow_state, mode, service_flags},
    pipeline::balance,
    tables::Part,
    testing::{
        Frame, Model,
        buffer::Buffer,
        frames::{Link, tcp},
        model::Count,
        world::{self, BACKEND_MAC, BACKEND_PORT, BACKENDS, CLIENTS, SOURCE_MAC, SOURCES, VIPS},
    },
    verdict::{Reason, Verdict},
};

const SECOND: u64 = 1_000_000_000;
/// Nowhere near what [`tcp`] begins with.
const ASTRAY: u32 = 0x9000_0000;

/// A client's connections, one by one, to a service with one backend.
struct World {
    model: Model,
    family: usize,
}

impl World {
    fn new(family: usize, mode: u32, hard_limit: u32) -> Self {
        let mut model = world::model(1 << 40);
        let vip = lb_common::abi::Address::of(world::ip(VIPS[family]));
        let key = VipKey::new(vip, world::TCP_PORT.to_be_bytes(), 6);
        let service = model.vips[&key].service as usize;
        model.services[service].mode = mode;
        model.services[service].flags = service_flags::LIMITED;
        let ring = model.current_rings[service];
        // With what a search wants to see behind a ring.
        let backend = model.rings[ring.offset() as usize];
        model.current_rings[service] = lb_common::abi::Ring::new(model.rings.len() as u32, 1);
        model.rings.extend([backend, 1, backend, 0]);
        model.backends[backend as usize].hard_limit = hard_limit;
        Self { model, family }
    }

    fn frame(&self, port: u16, flags: &str, payload: &[u8]) -> Frame {
        let client = SocketAddr::new(world::ip(CLIENTS[self.family]), port);
        tcp(
            Link::default(),
            client,
            world::socket(VIPS[self.family], world::TCP_PORT),
            flags,
            payload,
        )
    }

    fn send(&self, frame: &Frame) -> Verdict {
        balance(&mut Buffer::new(&frame.0), &self.model)
    }

    fn client(&self, port: u16, flags: &str) -> Verdict {
        self.send(&self.frame(port, flags, b"").acknowledging(1001))
    }

    fn answer(&self, nth: u16, flags: &str) -> Verdict {
        let link = Link { src_mac: BACKEND_MAC, dst_mac: SOURCE_MAC, ..Link::default() };
        let from = world::socket(BACKENDS[self.family], BACKEND_PORT);
        let to = world::socket(SOURCES[self.family], world::FIRST_SOURCE_PORT + nth);
        self.send(&tcp(link, from, to, flags, b""))
    }

    /// A handshake; the `nth` of all.
    fn connect(&self, nth: u16) -> Verdict {
        let verdict = self.client(40_000 + nth, "S");
        if matches!(verdict, Verdict::Steer { .. }) {
            self.answer(nth, "SA");
            assert_steered(self.client(40_000 + nth, "A"));
        }
        verdict
    }

    fn live(&self) -> u64 {
        self.model.load.iter().map(Count::get).sum()
    }

    fn flows(&self) -> Vec<(Slot, Flow)> {
        let parts = [Part::Pending, Part::Established].into_iter();
        parts.flat_map(|part| self.model.flows(part)).collect()
    }

    fn wait(&self, seconds: u64) {
        self.model.now.add(seconds * SECOND);
    }
}

fn assert_steered(verdict: Verdict) {
    assert!(matches!(verdict, Verdict::Steer { .. }), "{verdict:?}");
}

/// calico#9605, calico#13880, cilium#11742: one RST that its receiver does not take.
#[test]
fn resets_astray_change_nothing() {
    for (family, mode) in [(0, mode::NAT), (1, mode::NAT), (0, mode::L2), (1, mode::IPIP)] {
        let world = World::new(family, mode, 1);
        assert_steered(world.connect(0));
        for number in 0..4000_u32 {
            let number = ASTRAY.wrapping_add(number << 16).clamp(1 << 24, u32::MAX - (1 << 24));
            for flags in ["R", "RA", "FA"] {
                assert_steered(world.send(&world.frame(40_000, flags, b"").sequenced(number)));
            }
        }
        assert_eq!(world.live(), 1);
        let (slot, _) = world.flows()[0];
        assert!(!slot.has(flow_state::CLOSED | flow_state::OVER | flow_state::RESET));
        assert_eq!(world.client(40_001, "S"), Verdict::Answer(Reason::BackendsFull));
    }
}

#[test]
fn a_flow_that_goes_on_after_a_reset_counts_again_and_once() {
    for (family, mode) in [(0, mode::NAT), (1, mode::NAT), (0, mode::GUE), (1, mode::L2)] {
        let world = World::new(family, mode, 2);
        assert_steered(world.connect(0));
        for round in 0..3 {
            assert_steered(world.client(40_000, "R"));
            assert_eq!(world.live(), 0, "a RST that may well be right");
            assert_steered(world.client(40_000, "A"));
            assert_eq!(world.live(), 0, "it may have been under way before");
            world.wait(3);
            assert_steered(world.client(40_000, "A"));
            assert_steered(world.client(40_000, "PA"));
            assert_eq!(world.live(), 1);
            let revived = world.model.counters[counter::REVIVED as usize].get();
            assert_eq!(revived, round + 1);
        }
        let (slot, _) = world.flows()[0];
        let state = flow_state::OPEN | flow_state::COUNTED | flow_state::CONFIRMED;
        assert_eq!(slot.state(), state, "as it was before");
        assert_steered(world.client(40_000, "R"));
        assert_eq!(world.live(), 0);
    }
}

/// Its place may have gone to another flow, and there is no other.
#[test]
fn a_flow_that_goes_on_passes_no_limit() {
    let world = World::new(0, mode::NAT, 1);
    for nth in 0..20 {
        assert_steered(world.connect(nth));
        assert_steered(world.client(40_000 + nth, "R"));
    }
    world.wait(3);
    let on = (0..20).map(|nth| world.client(40_000 + nth, "A")).collect::<Vec<_>>();
    let steered = on.iter().filter(|verdict| matches!(verdict, Verdict::Steer { .. })).count();
    let refused = on.iter().filter(|it| **it == Verdict::Answer(Reason::BackendsFull)).count();
    assert_eq!((steered, refused, world.live()), (1, 19, 1));
    assert_eq!(world.flows().len(), 1, "the others are over");
}

#[test]
fn a_backend_s_reset_that_its_client_does_not_take() {
    let world = World::new(0, mode::NAT, 1);
    assert_steered(world.connect(0));
    assert_steered(world.answer(0, "R"));
    assert_eq!(world.live(), 0);
    world.wait(3);
    assert_steered(world.answer(0, "A"));
    assert_eq!(world.live(), 0, "an answer alone shows nothing");
    assert_steered(world.client(40_000, "A"));
    assert_eq!(world.live(), 1);
}

#[test]
fn a_reset_amid_a_handshake_that_goes_on() {
    let world = World::new(0, mode::NAT, 1);
    assert_steered(world.client(40_000, "S"));
    assert_steered(world.client(40_000, "R"));
    assert_steered(world.answer(0, "SA"));
    assert_eq!(world.live(), 0);
    // It acknowledges what only the backend's answer can have told.
    assert_steered(world.client(40_000, "A"));
    assert_eq!(world.live(), 1);
    assert_eq!(world.model.flows(Part::Established).len(), 1);
}
