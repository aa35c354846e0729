//! Tables for one sequence of frames: services of every mode and strategy, with limits, lists,
//! rates, challenges, ranges and QUIC as the dice fall.

use lb_common::{
    abi::{
        Address, Backend, ListKey, Prefixes, QuicKey, RangeKey, Reach, Ring, ServerId, Service,
        Vip, VipKey, access, address_flags, mode, path, service_flags, status, strategy,
    },
    testing::{Model, frames::TUNNEL_PORT, model::Count, world::BACKEND_PORT},
};

use super::scene::{BACKENDS, CLIENTS, MORE_SOURCES, SOURCES, VIPS, address};
use crate::dice::Dice;

pub(super) const SERVICES: u32 = 10;
pub(super) const PROXY_PORT: u16 = 443;
/// Announced, and led to by nothing.
pub(super) const NO_PORT: u16 = 99;
/// The first port of the range of a service that has one.
const RANGE: u16 = 4096;
/// Backends of one service, at most.
pub(super) const MEMBERS: usize = 5;
/// Words of RINGS that one service has, before and after a change.
pub(super) const RING_WORDS: u32 = 128;
/// Counts: one for each address of BACKENDS.
pub(super) const LOADS: u32 = 10;
/// Buckets in each part of the flow table.
pub(super) const BUCKETS: u32 = 8;
pub(super) const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 2048..=2053;
/// Addresses of ours of one family.
const POOL: u32 = 3;
const SECOND: u64 = 1_000_000_000;

/// The port of a service, TCP and UDP.
pub(super) const fn port(service: u32) -> u16 {
    1000 + service as u16
}

/// The first port of its range, of 32.
pub(super) const fn first_of_range(service: u32) -> u16 {
    RANGE + 32 * service as u16
}

/// The family of a service, and which of the family's addresses it has.
pub(super) const fn family(service: u32) -> usize {
    service as usize % 2
}

pub(super) const fn vip(service: u32) -> &'static str {
    VIPS[family(service)][service as usize / 2 % 2]
}

/// When a sequence begins, ns.
pub(super) fn beginning(dice: &mut Dice) -> u64 {
    (1 << 44) + (dice.word() >> 22)
}

/// A world's tables. The times of `Reach` say that nothing was looked up yet.
pub(super) fn create(dice: &mut Dice) -> Model {
    let mut model = Model::with_buckets(BUCKETS);
    model.source_ports = (*SOURCE_PORTS.start(), SOURCE_PORTS.len() as u16);
    model.now.set(beginning(dice));
    model.load.extend((0..LOADS).map(|_| Count::default()));
    model.ports.extend((0..LOADS).map(|_| Count::default()));
    model.source_pool.extend((0..2).flat_map(source_pool));
    model.rings = vec![0; (SERVICES * RING_WORDS) as usize];
    for vip in VIPS.as_flattened() {
        let silent = if dice.one_in(3) { address_flags::SILENT } else { 0 };
        model.addresses.insert(address(vip), silent);
        let key = VipKey::new(address(vip), PROXY_PORT.to_be_bytes(), 6);
        model.vips.insert(key, Vip { service: 0, path: path::PROXY });
    }
    for id in 0..SERVICES {
        let service = service(dice);
        let first = model.backends.len() as u32;
        for _ in 0..dice.below(MEMBERS + 1) {
            let backend = backend(dice, family(id), service.mode);
            let status = dice.pick(&[status::GONE, status::LEAVING]);
            let status = if dice.one_in(6) { status } else { status::HERE };
            model.backends.push(backend);
            model.reach.push(Reach { status, ..Reach::default() }.into());
            model.opened.push(Count::default());
        }
        let members: Vec<u32> = (first..model.backends.len() as u32).collect();
        model.services.push(service);
        let ring = ring(dice, id, &members, &mut model.rings);
        model.current_rings.push(ring);
        lead(dice, &mut model, id, &members);
    }
    model
}

/// How a service treats its flows.
pub(super) fn service(dice: &mut Dice) -> Service {
    let prefixes = |dice: &mut Dice| Prefixes {
        v4: dice.pick(&[0, 8, 24, 31, 32]),
        v6: dice.pick(&[0, 32, 64, 80, 128]),
        pad: 0,
    };
    let times = [1, SECOND / 1000, SECOND, 60 * SECOND];
    let sometimes = |dice: &mut Dice, often: usize| {
        if dice.one_in(often) { dice.pick(&times) } else { 0 }
    };
    Service {
        affinity: sometimes(dice, 3),
        source_interval: sometimes(dice, 5),
        source_burst: sometimes(dice, 2),
        service_interval: sometimes(dice, 6),
        service_burst: sometimes(dice, 2),
        remember: dice.pick(&times),
        challenge: if dice.one_in(4) { dice.pick(&[1, 2, 5]) } else { 0 },
        strategy: dice.pick(&[
            strategy::MAGLEV,
            strategy::MAGLEV,
            strategy::P2C,
            strategy::LEAST_CONN,
            strategy::WRR,
            strategy::RANDOM,
        ]),
        mode: dice.pick(&[mode::NAT, mode::NAT, mode::NAT, mode::L2, mode::IPIP, mode::GUE]),
        flags: flags(dice),
        mss: if dice.one_in(3) { dice.pick(&[536, 1300, 1460, 9000]) } else { 0 },
        affinity_prefix: prefixes(dice),
        source_prefix: prefixes(dice),
        server_id_length: if dice.one_in(3) { dice.pick(&[1, 3, 7, 8, 15]) } else { 0 },
    }
}

fn flags(dice: &mut Dice) -> u32 {
    use service_flags::{DENY_OTHERS, LIMITED, LISTED, MOVE, RESET_UNKNOWN};
    let mut flags = 0;
    let often = [(MOVE, 2), (LIMITED, 2), (LISTED, 5), (DENY_OTHERS, 3), (RESET_UNKNOWN, 2)];
    for (flag, often) in often {
        flags |= if dice.one_in(often) { flag } else { 0 };
    }
    flags
}

/// A backend of a service of that family and mode.
pub(super) fn backend(dice: &mut Dice, family: usize, mode: u32) -> Backend {
    let tunnel = mode == mode::IPIP || mode == mode::GUE;
    let outer = if tunnel && dice.one_in(2) { 1 - family } else { family };
    // The one that cannot be reached is rarer.
    let host = dice.below(2 * BACKENDS[outer].len() - 1) / 2;
    let port = match mode {
        mode::NAT => BACKEND_PORT.to_be_bytes(),
        mode::GUE => TUNNEL_PORT.to_be_bytes(),
        _ => [0, 0],
    };
    let sources = if dice.one_in(3) { 2 + dice.below(2) as u32 } else { 1 };
    let pool = POOL * outer as u32 + dice.below((POOL - sources) as usize + 1) as u32;
    let mut limit = || if dice.one_in(3) { dice.pick(&[0, 1, 2, 5]) } else { u32::MAX };
    let (soft_limit, hard_limit) = (limit(), limit());
    Backend {
        address: address(BACKENDS[outer][host]),
        source: address(SOURCES[outer]),
        port: if dice.one_in(4) { [0, 0] } else { port },
        spread: if mode == mode::IPIP { dice.pick(&[0, 1, 8, 16, 32]) } else { 0 },
        load: (outer * BACKENDS[outer].len() + host) as u32,
        weight: dice.pick(&[1, 1, 2, 100]),
        soft_limit,
        hard_limit,
        mtu: if dice.one_in(4) { dice.pick(&[68, 576, 1280, 1400, 9000]) } else { 0 },
        pool,
        sources,
        ends: if dice.one_in(3) { dice.pick(&[1, 6, 12]) } else { 0 },
        ..Backend::default()
    }
}

/// Our addresses of one family that backends may see in turn.
fn source_pool(family: usize) -> [Address; POOL as usize] {
    let [second, third] = MORE_SOURCES[family];
    [SOURCES[family], second, third].map(address)
}

/// Some slots, the number of members, and these, in one of the two places that a service has; and
/// behind them, where some are farther away, the same for those.
pub(super) fn ring(dice: &mut Dice, service: u32, members: &[u32], rings: &mut [u32]) -> Ring {
    if members.is_empty() {
        return Ring::default();
    }
    let length = dice.pick(&[1, 2, 3, 7, 16]);
    let words = ring_words(dice, length, members);
    let offset = service * RING_WORDS + RING_WORDS / 2 * dice.below(2) as u32;
    rings[offset as usize..][..words.len()].copy_from_slice(&words);
    Ring::new(offset, length)
}

fn ring_words(dice: &mut Dice, length: u32, members: &[u32]) -> Vec<u32> {
    let mut words = Vec::new();
    let (mut length, mut rest) = (length, members);
    for _ in 0..Ring::REGIONS {
        let near = if dice.one_in(3) { rest.len() } else { 1 + dice.below(rest.len()) };
        let (members, farther) = rest.split_at(near);
        words.extend((0..length).map(|_| dice.pick(members)));
        words.push(members.len() as u32);
        words.extend(members);
        length = if farther.is_empty() { 0 } else { 1 + dice.below(3) as u32 };
        words.push(length);
        if length == 0 {
            return words;
        }
        rest = farther;
    }
    *words.last_mut().expect("never empty") = 0;
    words
}

/// What leads to a service, and what goes with its flags.
fn lead(dice: &mut Dice, model: &mut Model, id: u32, members: &[u32]) {
    let here = address(vip(id));
    let steer = Vip { service: id, path: path::STEER };
    for protocol in [6, 17] {
        model.vips.insert(VipKey::new(here, port(id).to_be_bytes(), protocol), steer);
        if dice.one_in(3) {
            let first = first_of_range(id).to_be_bytes();
            let to = if dice.one_in(5) { Vip { path: path::PROXY, ..steer } } else { steer };
            model.ranges.insert(RangeKey::prefix(here, protocol, first, 11), to);
        }
    }
    for &member in members {
        let id_length = model.services[id as usize].server_id_length as usize;
        if let Some(server) = ServerId::of(&server_id(member)[..id_length]) {
            model.quic_ids.insert(QuicKey { service: id, pad: 0, id: server }, member);
        }
    }
    for _ in 0..dice.below(4) {
        let client = address(dice.pick(&CLIENTS[family(id)]));
        model
            .crowd
            .lists
            .insert(network(dice, id, client), dice.pick(&[access::ALLOW, access::DENY]));
    }
}

fn network(dice: &mut Dice, service: u32, of: Address) -> ListKey {
    let (v4, v6) = (dice.pick(&[0, 24, 32]), dice.pick(&[0, 48, 64, 128]));
    let length = if of.is_v4() { 96 + u32::from(v4) } else { u32::from(v6) };
    ListKey::prefix(service, of.masked(Prefixes { v4, v6, pad: 0 }), length)
}

/// What a backend calls itself in connection ids, as much of it as is asked for.
pub(super) fn server_id(backend: u32) -> [u8; 16] {
    std::array::from_fn(|place| if place == 0 { backend as u8 } else { 0xa0 + place as u8 })
}
