//! Packets of QUIC services whose connection id names a server that takes no more flows.

use std::net::SocketAddr;

use lb_common::{
    abi::{Address, QuicKey, Ring, ServerId, VipKey, counter, service_flags},
    pipeline::balance,
    tables::Part,
    testing::{
        Frame, Model,
        buffer::Buffer,
        frames::{Link, udp},
        model::Count,
        world::{self, CLIENTS, QUIC_PORT, QUIC_SERVER, VIPS},
    },
    verdict::Verdict,
};

/// A short header with a connection id of that server.
fn named(family: usize) -> Frame {
    let payload = [&[0x43, 0x07], &QUIC_SERVER[..], &[9, 8, 7, 6], &[0x5e; 24]].concat();
    let client = SocketAddr::new(world::ip(CLIENTS[family]), 40_000);
    udp(Link::default(), client, world::socket(VIPS[family], QUIC_PORT), &payload)
}

/// The named server is at its hard limit.
fn full(family: usize) -> Model {
    let mut model = world::model(1 << 40);
    let vip = Address::of(world::ip(VIPS[family]));
    let key = VipKey::new(vip, QUIC_PORT.to_be_bytes(), 17);
    let service = model.vips[&key].service as usize;
    let id = ServerId::of(&QUIC_SERVER).expect("not too long");
    let named = model.quic_ids[&QuicKey { service: service as u32, pad: 0, id }];
    let first = model.rings[model.current_rings[service].offset() as usize];
    model.current_rings[service] = Ring::new(model.rings.len() as u32, 1);
    // With what a search wants to see behind a ring.
    model.rings.extend([first, 1, first, 0]);
    model.services[service].flags |= service_flags::LIMITED;
    model.backends[named as usize].hard_limit = 0;
    model
}

/// Or each of its packets would come from another port of ours, and no answer would arrive.
#[test]
fn a_flow_stays_where_it_is_while_the_named_server_is_full() {
    for family in 0..VIPS.len() {
        let model = full(family);
        for _ in 0..4 {
            let verdict = balance(&mut Buffer::new(&named(family).0), &model);
            assert!(matches!(verdict, Verdict::Steer { .. }), "{verdict:?}");
        }
        assert_eq!(model.counters[counter::REROUTED as usize].get(), 0);
        assert_eq!(model.opened.iter().map(Count::get).sum::<u64>(), 1);
        assert_eq!(model.flows(Part::Pending).len() + model.flows(Part::Established).len(), 1);
    }
}
