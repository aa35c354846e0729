//! What each backend gets, by strategy: over many flows, its weight's share within two in a
//! hundred.

use std::net::{Ipv4Addr, SocketAddr};

use lb_common::{
    abi::{Address, Backend, Ring, Service, service_flags, strategy},
    pipeline::balance,
    testing::{
        Model,
        buffer::Buffer,
        frames::{Link, tcp},
        model::Count,
        world::{self, TCP_PORT, VIPS},
    },
    verdict::Verdict,
};

const FLOWS: u32 = 100_000;
const WEIGHTS: [u32; 3] = [1, 2, 3];

/// The service of [`TCP_PORT`] with backends of these weights, in a ring of so many rounds.
fn model(service: Service, rounds: u32) -> Model {
    // As many buckets as keep all flows.
    let mut model = world::model_of(1 << 15, 1 << 40);
    let template = model.backends[0];
    let first = model.backends.len() as u32;
    for weight in WEIGHTS {
        let load = model.load.len() as u32;
        let address = Address::v4([10, 2, 1, weight as u8]);
        model.backends.push(Backend { address, load, weight, ..template });
        let reach = *model.reach[0].get_mut();
        model.reach.push(reach.into());
        model.load.push(Count::default());
        model.ports.push(Count::default());
        model.opened.push(Count::default());
    }
    model.source_ports = (1, u16::MAX - 1);
    let smooth = [2, 1, 2, 0, 1, 2].map(|member| first + member);
    let length = rounds * smooth.len() as u32;
    model.current_rings[0] = Ring::new(model.rings.len() as u32, length);
    (0..rounds).for_each(|_| model.rings.extend(smooth));
    model.rings.extend([3, first, first + 1, first + 2]);
    model.services[0] = service;
    model
}

/// What each backend got of so many flows of different clients, all of them held.
fn shares(model: &Model, flows: u32) -> Vec<u64> {
    let vip = world::socket(VIPS[0], TCP_PORT);
    for nth in 0..flows {
        let client = SocketAddr::new(Ipv4Addr::from(0xc612_0000 + nth).into(), 40000);
        let syn = tcp(Link::default(), client, vip, "S", b"");
        let verdict = balance(&mut Buffer::new(&syn.0), model);
        assert!(matches!(verdict, Verdict::Steer { .. }), "{verdict:?} for flow {nth}");
    }
    model.opened[model.opened.len() - 3..].iter().map(Count::get).collect()
}

fn assert_fair(name: &str, shares: &[u64]) {
    let all: u64 = shares.iter().sum();
    let weights: u32 = WEIGHTS.iter().sum();
    for (share, weight) in shares.iter().zip(WEIGHTS) {
        let wanted = all * u64::from(weight) / u64::from(weights);
        let off = share.abs_diff(wanted);
        assert!(off * 50 <= wanted, "{name}: {shares:?}, not {wanted} for weight {weight}");
    }
}

#[test]
fn every_strategy_keeps_to_the_weights() {
    let strategies = [
        ("maglev", strategy::MAGLEV),
        ("p2c", strategy::P2C),
        ("least_conn", strategy::LEAST_CONN),
        ("wrr", strategy::WRR),
        ("random", strategy::RANDOM),
    ];
    for (name, strategy) in strategies {
        let model = model(Service { strategy, ..Service::default() }, 100);
        let shares = shares(&model, FLOWS);
        assert_eq!(shares.iter().sum::<u64>(), u64::from(FLOWS), "{name}");
        assert_fair(name, &shares);
    }
}

#[test]
fn wrr_is_exact_round_by_round() {
    let model = model(Service { strategy: strategy::WRR, ..Service::default() }, 1);
    assert_eq!(shares(&model, 600), [100, 200, 300]);
}

#[test]
fn least_conn_evens_out_what_was_uneven() {
    let model = model(Service { strategy: strategy::LEAST_CONN, ..Service::default() }, 1);
    let last = model.load.len() - 1;
    model.load[last].add(3000);
    assert_eq!(shares(&model, 3000), [1000, 2000, 0]);
}

#[test]
fn limits_fill_up_in_order_and_to_the_last_place() {
    let flags = service_flags::LIMITED;
    for strategy in [strategy::MAGLEV, strategy::P2C, strategy::LEAST_CONN, strategy::WRR] {
        let mut model = model(Service { strategy, flags, ..Service::default() }, 1);
        let first = model.backends.len() - 3;
        for (member, hard_limit) in [50, 1000, 300].into_iter().enumerate() {
            let backend = &mut model.backends[first + member];
            (backend.soft_limit, backend.hard_limit) = (hard_limit / 2, hard_limit);
        }
        assert_eq!(shares(&model, 1350), [50, 1000, 300], "strategy {strategy}");
    }
}
