//! What becomes of the flows of backends that are gone, or on their way out, over several packets.

use std::net::SocketAddr;

use lb_common::{
    abi::{Address, Ring, Vip, VipKey, mode, path, status},
    pipeline::balance,
    testing::{
        Frame, Model,
        buffer::Buffer,
        frames::{Link, tcp, udp},
        model::Count,
        world::{
            self, BACKENDS, CLIENTS, SOURCES, VIPS, VLAN_BACKENDS, VLAN_SOURCES, limits, members,
        },
    },
    verdict::{Reason, Verdict},
};

const CLIENT_PORT: u16 = 40000;

fn receive(model: &Model, frame: &Frame) -> Verdict {
    balance(&mut Buffer::new(&frame.0), model)
}

fn segment(family: usize, flags: &str, payload: &[u8]) -> Frame {
    let client = SocketAddr::new(world::ip(CLIENTS[family]), CLIENT_PORT);
    let vip = world::socket(VIPS[family], limits::RESET_PORT);
    tcp(Link::default(), client, vip, flags, payload)
}

/// Of the client's connection to a port whose first backend falls.
fn send(model: &Model, family: usize, flags: &str, payload: &[u8]) -> Verdict {
    receive(model, &segment(family, flags, payload))
}

fn key(family: usize, protocol: u32) -> VipKey {
    let vip = Address::of(world::ip(VIPS[family]));
    VipKey::new(vip, limits::RESET_PORT.to_be_bytes(), protocol)
}

fn service(model: &Model, family: usize) -> usize {
    model.vips[&key(family, 6)].service as usize
}

fn live(model: &Model) -> u64 {
    model.load.iter().map(Count::get).sum()
}

fn make(model: &mut Model, status: u32) {
    for id in members::falling() {
        model.reach[id as usize].get_mut().status = status;
    }
}

/// The first backend of the port is on its way out: no ring has it.
fn leave(model: &mut Model, family: usize) {
    make(model, status::LEAVING);
    let [_, second] = members::members(limits::RESET_PORT, family)[..] else { panic!("two") };
    let place = model.rings.len() as u32;
    model.rings.extend([second, 1, second, 0]);
    let service = service(model, family);
    model.current_rings[service] = Ring::new(place, 1);
}

/// The second backend is behind a VLAN.
#[track_caller]
fn assert_goes_to(verdict: Verdict, second: bool, what: &str) {
    let Verdict::Steer { vlan, .. } = verdict else { panic!("{what}: {verdict:?}") };
    assert_eq!(vlan != 0, second, "{what}: {verdict:?}");
}

#[test]
fn all_that_is_under_way_is_refused_and_opens_nothing() {
    for (family, mode) in [0, 1].into_iter().zip([mode::L2, mode::IPIP]) {
        let mut model = world::model(1 << 40);
        let service = service(&model, family);
        model.services[service].mode = mode;
        for flags in ["S", "A"] {
            assert!(matches!(send(&model, family, flags, b""), Verdict::Steer { .. }));
        }
        assert_eq!(live(&model), 1);
        make(&mut model, status::GONE);
        for payload in [b"one", b"two", b"six"] {
            let verdict = send(&model, family, "PA", payload);
            assert_eq!(verdict, Verdict::Answer(Reason::BackendGone), "{payload:?}");
            assert_eq!(live(&model), 0);
        }
        let again = send(&model, family, "S", b"");
        assert!(matches!(again, Verdict::Steer { .. }), "a new connection: {again:?}");
        assert_eq!(live(&model), 1);
    }
}

/// kubernetes/kubernetes#81775: a port that is used again led to a server that had left.
#[test]
fn a_syn_begins_another_connection_and_the_old_one_goes_on_until_that_stands() {
    for (family, mode) in
        [0, 1].into_iter().flat_map(|family| [mode::NAT, mode::L2].map(|mode| (family, mode)))
    {
        let mut model = world::model(1 << 40);
        let number = service(&model, family);
        model.services[number].mode = mode;
        let answers = |backends: [&str; 2], sources: [&str; 2], flags| {
            let backend = world::socket(backends[family], world::BACKEND_PORT);
            let source = world::socket(sources[family], world::FIRST_SOURCE_PORT);
            tcp(Link::default(), backend, source, flags, b"")
        };
        assert_goes_to(send(&model, family, "S", b""), false, "SYN");
        if mode == mode::NAT {
            receive(&model, &answers(BACKENDS, SOURCES, "SA").sequenced(100));
        }
        let old = segment(family, "A", b"").sequenced(1001).acknowledging(101);
        assert_goes_to(receive(&model, &old), false, "ACK");
        leave(&mut model, family);
        assert_goes_to(receive(&model, &old), false, "it keeps what it has");

        let syn = segment(family, "S", b"").sequenced(0x7000_0000);
        for _ in 0..2 {
            assert_goes_to(receive(&model, &syn), true, "another SYN");
            assert_eq!(live(&model), 2);
        }
        if mode == mode::NAT {
            receive(&model, &answers(VLAN_BACKENDS, VLAN_SOURCES, "SA").sequenced(900));
        }
        let data = segment(family, "PA", b"data").sequenced(1001).acknowledging(101);
        assert_goes_to(receive(&model, &data), false, "data of the old connection");
        assert_eq!(live(&model), 2);
        let new = segment(family, "A", b"").sequenced(0x7000_0001).acknowledging(901);
        for turn in 0..2 {
            assert_goes_to(receive(&model, &new), true, "the new connection");
            assert_eq!(live(&model), 1, "{turn}");
        }
        let fin = segment(family, "FA", b"").sequenced(0x7000_0001).acknowledging(901);
        assert_goes_to(receive(&model, &fin), true, "its end");
    }
}

/// A SYN of nobody's: the connection goes on, and is no longer looked at once nothing came of it.
#[test]
fn a_forged_syn_ends_nothing() {
    let mut model = world::model(1 << 40);
    for flags in ["S", "SA", "A"] {
        let backend = world::socket(BACKENDS[0], world::BACKEND_PORT);
        let source = world::socket(SOURCES[0], world::FIRST_SOURCE_PORT);
        let frame = match flags {
            "SA" => tcp(Link::default(), backend, source, flags, b""),
            _ => segment(0, flags, b"").acknowledging(1001),
        };
        assert!(matches!(receive(&model, &frame), Verdict::Steer { .. }), "{flags}");
    }
    leave(&mut model, 0);
    assert_goes_to(send(&model, 0, "S", b""), true, "SYN");
    for flags in ["A", "PA", "FA"] {
        let frame = segment(0, flags, b"").sequenced(7).acknowledging(1001);
        assert_goes_to(receive(&model, &frame), false, flags);
    }
}

/// kubernetes/kubernetes#141371: what one end sends on keeps a flow of a deleted service alive.
#[test]
fn what_is_not_declared_any_more_ends() {
    for family in [0, 1] {
        let mut model = world::model(1 << 40);
        let query = || {
            let client = SocketAddr::new(world::ip(CLIENTS[family]), CLIENT_PORT);
            let vip = world::socket(VIPS[family], limits::RESET_PORT);
            udp(Link::default(), client, vip, b"line")
        };
        send(&model, family, "S", b"");
        receive(&model, &query());
        assert_eq!(live(&model), 2);
        make(&mut model, status::GONE);
        let is_ours = |key: &VipKey| key.port() == limits::RESET_PORT.to_be_bytes();
        model.vips.retain(|key, _| !is_ours(key));
        for _ in 0..2 {
            let verdict = receive(&model, &query());
            assert_eq!(verdict, Verdict::Drop(Reason::UndeclaredPort));
        }
        let verdict = send(&model, family, "PA", b"data");
        assert_eq!(verdict, Verdict::Answer(Reason::UndeclaredPort), "its client is told");
        let verdict = send(&model, family, "S", b"");
        assert_eq!(verdict, Verdict::Drop(Reason::UndeclaredPort));
        assert_eq!(live(&model), 0);
    }
}

#[test]
fn who_has_the_port_now_gets_what_moves() {
    let mut model = world::model(1 << 40);
    send(&model, 0, "S", b"");
    make(&mut model, status::GONE);
    model.vips.insert(key(0, 6), Vip { service: 0, path: path::PROXY });
    assert_eq!(send(&model, 0, "S", b""), Verdict::Proxy);
    assert_eq!(live(&model), 0);
}
