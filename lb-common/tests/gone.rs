//! A backend that answers directly is gone, and more than one packet of its client's is under way.

use std::net::SocketAddr;

use lb_common::{
    abi::{Address, VipKey, mode, status},
    pipeline::balance,
    testing::{
        Model,
        buffer::Buffer,
        frames::{Link, tcp},
        model::Count,
        world::{self, CLIENTS, VIPS, limits},
    },
    verdict::{Reason, Verdict},
};

/// Of the client's connection to a port whose first backend falls.
fn send(model: &Model, family: usize, flags: &str, payload: &[u8]) -> Verdict {
    let client = SocketAddr::new(world::ip(CLIENTS[family]), 40000);
    let vip = world::socket(VIPS[family], limits::RESET_PORT);
    let frame = tcp(Link::default(), client, vip, flags, payload);
    balance(&mut Buffer::new(&frame.0), model)
}

#[test]
fn all_that_is_under_way_is_refused_and_opens_nothing() {
    for (family, mode) in [0, 1].into_iter().zip([mode::L2, mode::IPIP]) {
        let mut model = world::model(1 << 40);
        let vip = Address::of(world::ip(VIPS[family]));
        let key = VipKey::new(vip, limits::RESET_PORT.to_be_bytes(), 6);
        let service = model.vips[&key].service as usize;
        model.services[service].mode = mode;
        for flags in ["S", "A"] {
            assert!(matches!(send(&model, family, flags, b""), Verdict::Steer { .. }));
        }
        let live = |model: &Model| model.load.iter().map(Count::get).sum::<u64>();
        assert_eq!(live(&model), 1);
        for id in limits::falling() {
            model.reach[id as usize].get_mut().status = status::GONE;
        }
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
