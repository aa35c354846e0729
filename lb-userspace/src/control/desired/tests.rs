use std::collections::BTreeSet;

use lb_common::abi::{self, ServerId, path, status};

use super::{events::identify, *};
use crate::control::fixture::{self, TestWorld, port, range, service};
use crate::{
    service::{Access, Forwarding, Handler, Protocol, Quic, Service, Steering},
    settings::Geography,
    tables::{Command, regions},
};

const DUAL: [&str; 2] = ["203.0.113.1", "2001:db8::1"];
const SERVERS: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"];

fn raw() -> Service {
    service("raw", &DUAL, vec![port(5432, &[])], &SERVERS)
}

fn key(address: &str, port: u16) -> VipKey {
    VipKey::new(Address::of(address.parse().unwrap()), port.to_be_bytes(), 6)
}

fn members(world: &TestWorld, service: u32) -> BTreeSet<u32> {
    by_region(world, service)[0].iter().copied().collect()
}

/// Returns the members of a ring, and of the farther regions' rings behind it.
fn by_region(world: &TestWorld, service: u32) -> Vec<Vec<u32>> {
    let words = world.kernel.ring(service);
    let found = regions(&words, world.kernel.current[&service].length());
    found.map(|region| region.members.to_vec()).collect()
}

#[test]
fn each_family_has_a_ring_of_its_own_servers() {
    let mut world = TestWorld::of(vec![raw()]);
    world.follow();
    let steer = |service| Vip { service, path: path::STEER };
    assert_eq!(world.kernel.vips[&key(DUAL[0], 5432)], steer(0));
    assert_eq!(world.kernel.vips[&key(DUAL[1], 5432)], steer(1));
    assert_eq!(members(&world, 0), [0, 1].into());
    assert_eq!(world.kernel.ring(1), [2, 1, 2, 0], "one slot, one member, its id, no more");
    let backend = world.kernel.backends[&2];
    assert_eq!(backend.address, Address::of("fd00::1".parse().unwrap()));
    assert_eq!(backend.source, Address::of("fd00::fe".parse().unwrap()));
    assert_eq!((backend.port, backend.load, backend.weight), ([0, 80], 2, 1));
    assert_eq!((backend.soft_limit, backend.hard_limit), (u32::MAX, u32::MAX));
    assert_eq!(world.kernel.addresses.len(), 2);
}

#[test]
fn a_tunnel_carries_either_family_to_all_servers() {
    let steering = Steering { forwarding: Forwarding::Ipip, ..Steering::default() };
    let mut world = TestWorld::of(vec![Service { steering, ..raw() }]);
    world.follow();
    assert_eq!(members(&world, 0), [0, 1, 2].into());
    assert_eq!(members(&world, 1), [0, 1, 2].into());
    assert_eq!(world.kernel.services[&0].mode, abi::mode::IPIP);
}

#[test]
fn a_range_takes_its_prefixes_and_marks_its_addresses() {
    let ports = vec![port(80, &[]), range(8000, 8005)];
    let mut world = TestWorld::of(vec![service("ranged", &DUAL, ports, &SERVERS), {
        service("single", &["203.0.113.9"], vec![port(80, &[])], &SERVERS)
    }]);
    world.follow();
    let address = |address: &str| Address::of(address.parse().unwrap());
    let key =
        |at: &str, first: u16, bits| RangeKey::prefix(address(at), 6, first.to_be_bytes(), bits);
    let steer = |service| Vip { service, path: path::STEER };
    let expected = [
        (key(DUAL[0], 8000, 14), steer(0)),
        (key(DUAL[0], 8004, 15), steer(0)),
        (key(DUAL[1], 8000, 14), steer(1)),
        (key(DUAL[1], 8004, 15), steer(1)),
    ];
    assert_eq!(world.kernel.ranges, expected.into());
    assert_eq!(world.kernel.vips.len(), 3);
    assert_eq!(world.kernel.addresses[&address(DUAL[0])], address_flags::RANGES);
    assert_eq!(world.kernel.addresses[&address("203.0.113.9")], 0);
    for (silent, flag) in [(true, address_flags::SILENT), (false, 0)] {
        world.silent = silent;
        world.follow();
        assert_eq!(world.kernel.addresses[&address(DUAL[0])], address_flags::RANGES | flag);
        assert_eq!(world.kernel.addresses[&address("203.0.113.9")], flag);
    }
    let single = service("ranged", &DUAL, vec![port(80, &[])], &SERVERS);
    world.fleet.services[0] = fixture::run(single, &mut world.ids);
    world.follow();
    assert!(world.kernel.ranges.is_empty());
    assert_eq!(world.kernel.addresses[&address(DUAL[0])], 0);
}

#[test]
fn quic_servers_are_named_while_they_are_members_even_if_they_drain() {
    let mut raw = service("raw", &DUAL, vec![port(443, &[])], &["10.0.0.1:80", "10.0.0.2:80"]);
    raw.pool.servers.iter_mut().for_each(identify);
    let mut world = TestWorld::of(vec![raw.clone()]);
    let running = world.fleet.services[0].clone();
    running.backends[1].set_draining(true);
    running.touch();
    world.follow();
    let key = |id: u8| QuicKey { service: 0, pad: 0, id: ServerId::of(&[id]).unwrap() };
    assert_eq!(world.kernel.quic_ids, [(key(1), 0), (key(2), 1)].into());
    raw.pool.servers.remove(0);
    world.fleet.services[0] = fixture::run(raw, &mut world.ids);
    world.follow();
    assert_eq!(world.kernel.quic_ids, [(key(2), 1)].into());
}

#[test]
fn proxied_ports_need_no_ring() {
    let web = vec![port(443, &[Handler::Tls]), port(80, &[Handler::Http])];
    let mut world = TestWorld::of(vec![service("web", &DUAL[..1], web, &SERVERS)]);
    world.follow();
    let proxied = Vip { service: 0, path: path::PROXY };
    let vips = [(key(DUAL[0], 80), proxied), (key(DUAL[0], 443), proxied)];
    assert_eq!(world.kernel.vips, vips.into());
    assert!(world.kernel.current.is_empty() && world.kernel.backends.is_empty());
}

#[test]
fn flows_go_far_only_when_nobody_nearer_is_there() {
    let regions = [Some("ams"), Some("fra"), Some("sjc"), Some("lhr"), None];
    let addresses: Vec<_> = (1..=5).map(|number| format!("10.0.0.{number}:80")).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let mut service = service("raw", &DUAL[..1], vec![port(5432, &[])], &addresses);
    for (server, region) in service.pool.servers.iter_mut().zip(regions) {
        server.region = region.map(Into::into);
    }
    let mut world = TestWorld::of(vec![service]);
    world.follow();
    assert_eq!(members(&world, 0).len(), 5, "nobody says where we are");

    let (local, nearby) = (Some("fra".into()), vec!["ams".into(), "lhr".into()]);
    let mut world =
        TestWorld { geography: Geography { local, nearby, ..Geography::default() }, ..world };
    for (gone, left) in [
        (None, &[1, 4][..]),
        (Some(4), &[1]),
        (Some(1), &[0]),
        (Some(3), &[0]),
        (Some(0), &[2]),
        (Some(2), &[]),
    ] {
        let running = &world.fleet.services[0];
        if let Some(gone) = gone {
            running.backends[gone].set_up(false);
        }
        running.touch();
        world.follow();
        let left: BTreeSet<u32> = left.iter().copied().collect();
        if left.is_empty() {
            assert!(!world.kernel.current.contains_key(&0));
        } else {
            assert_eq!(members(&world, 0), left, "{gone:?}");
        }
    }
}

#[test]
fn behind_the_nearest_stand_the_others_where_there_is_a_hard_limit() {
    let regions_of = ["fra", "sjc", "ams", "fra"];
    let addresses: Vec<_> = (1..=4).map(|number| format!("10.0.0.{number}:80")).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let mut service = service("raw", &DUAL[..1], vec![port(5432, &[])], &addresses);
    for (server, region) in service.pool.servers.iter_mut().zip(regions_of) {
        server.region = Some(region.into());
    }
    let (local, nearby) = (Some("fra".into()), vec!["ams".into()]);
    let geography = Geography { local, nearby, ..Geography::default() };
    let unlimited = service.clone();
    service.steering.limits.hard = Some(5);
    let mut world = TestWorld { geography: geography.clone(), ..TestWorld::of(vec![service]) };
    world.follow();
    assert_eq!(by_region(&world, 0), [vec![0, 3], vec![2], vec![1]]);
    let running = world.fleet.services[0].clone();
    running.backends[2].set_up(false);
    running.touch();
    world.follow();
    assert_eq!(by_region(&world, 0), [vec![0, 3], vec![1]], "who is down is nowhere");

    let mut world = TestWorld { geography, ..TestWorld::of(vec![unlimited]) };
    world.follow();
    assert_eq!(by_region(&world, 0), [[0, 3]], "never full");
}

#[test]
fn who_is_down_draining_or_unroutable_is_in_no_ring() {
    let mut world = TestWorld::of(vec![raw()]);
    world.sources.remove(&"fd00::1".parse().unwrap());
    let running = world.fleet.services[0].clone();
    running.backends[0].set_up(false);
    running.touch();
    world.follow();
    assert_eq!(members(&world, 0), [1].into());
    assert!(world.kernel.ring(1).is_empty());
    assert!(!world.kernel.backends.contains_key(&2), "no source address towards it");
    assert_eq!(world.kernel.statuses[&0], status::GONE);
    running.backends[0].set_up(true);
    running.backends[1].set_draining(true);
    running.touch();
    let back = world.follow();
    assert_eq!(members(&world, 0), [0].into());
    assert_eq!(back[0], Command::SetStatus { id: 0, status: status::HERE }, "before the ring");
    assert_eq!(world.kernel.statuses[&1], status::LEAVING, "its flows may go on");
    running.backends[1].set_expelled(true);
    running.touch();
    assert_eq!(world.follow(), [Command::SetStatus { id: 1, status: status::GONE }]);
}

#[test]
fn a_server_that_left_stays_until_its_flows_have_ended_or_its_time_is_over() {
    let minute = std::time::Duration::from_secs(60);
    let steering = Steering { drain_deadline: Some(minute), ..Steering::default() };
    let mut world = TestWorld::of(vec![Service { steering: steering.clone(), ..raw() }]);
    world.follow();
    let fewer = service("raw", &DUAL, vec![port(5432, &[])], &SERVERS[1..]);
    let fewer = fixture::run(Service { steering, ..fewer }, &mut world.ids);
    world.fleet.services[0] = fewer;
    world.follow_with(|load| load == 0);
    assert_eq!(world.kernel.ring(0), [1, 1, 1, 0]);
    assert!(world.kernel.backends.contains_key(&0) && world.desired.is_retiring());
    assert_eq!(world.kernel.statuses[&0], status::LEAVING, "a SYN is for another");
    let left = world.desired.leavers(&world.ids);
    assert_eq!((left.len(), left[0].is_member), (1, true));
    assert_eq!(left[0].until, Some(world.now + minute));
    world.now += minute;
    let expelled = world.follow_with(|load| load == 0);
    assert_eq!(expelled, [Command::SetStatus { id: 0, status: status::GONE }]);
    assert_eq!(world.follow(), [Command::ClearBackend { id: 0 }]);
    assert!(!world.desired.is_retiring());
}

/// Returns a daemon that starts with `services` after one that had `raw` with all three servers;
/// those that are missing left `before` ago. All have flows.
fn restarted(service: Service, before: std::time::Duration) -> TestWorld {
    let mut earlier = TestWorld::of(vec![Service { steering: service.steering.clone(), ..raw() }]);
    earlier.follow();
    let TestWorld { kernel, actual, mut ids, sources, now, .. } = earlier;
    let departure = |_: &Arc<str>, _| Departure { before, ..Departure::now(now) };
    let desired = Desired::resume(&actual, departure, &mut ids);
    let fleet = Fleet::new(vec![fixture::run(service, &mut ids)]);
    let mut world = TestWorld { kernel, actual, ids, desired, sources, fleet, ..TestWorld::new() };
    world.now = now;
    world.follow_with(|_| true);
    world
}

#[test]
fn a_deadline_goes_on_over_restarts() {
    let minute = std::time::Duration::from_secs(60);
    let steering = Steering { drain_deadline: Some(minute), ..Steering::default() };
    let fewer = || Service {
        steering: steering.clone(),
        ..service("raw", &DUAL, vec![port(5432, &[])], &SERVERS[1..])
    };
    let mut world = restarted(fewer(), minute / 2);
    assert_eq!(world.kernel.statuses[&0], status::LEAVING);
    world.now += minute / 2;
    world.follow_with(|_| true);
    assert_eq!(world.kernel.statuses[&0], status::GONE);
    assert_eq!(restarted(fewer(), minute).kernel.statuses[&0], status::GONE, "it was over");
}

#[test]
fn without_a_deadline_connections_go_on_and_datagrams_move_at_once() {
    for (protocol, quic, left) in [
        (Protocol::Tcp, None, status::LEAVING),
        (Protocol::Udp, None, status::GONE),
        (Protocol::Udp, Some(Quic { server_id_length: 1 }), status::LEAVING),
    ] {
        let steering = Steering { quic, ..Steering::default() };
        let fewer = service("raw", &DUAL, vec![port(5432, &[])], &SERVERS[1..]);
        let world = restarted(Service { protocol, steering, ..fewer }, Default::default());
        assert_eq!(world.kernel.statuses.get(&0), Some(&left), "{protocol:?} {quic:?}");
    }
}

#[test]
fn the_servers_of_a_service_that_left_are_gone_at_once() {
    let other = service("other", &DUAL, vec![port(5433, &[])], &SERVERS[..1]);
    let world = restarted(other, Default::default());
    let statuses = |id| world.kernel.statuses.get(&id).copied();
    assert_eq!([0, 1, 2].map(statuses), [Some(status::GONE); 3]);
    let left = world.desired.leavers(&world.ids);
    assert!(left.len() == 3 && left.iter().all(|leaver| !leaver.is_member));
}

#[test]
fn ids_outlive_a_change_of_order() {
    let dns = || service("dns", &["203.0.113.53"], vec![port(53, &[])], &SERVERS[..2]);
    let mut world = TestWorld::of(vec![raw(), dns()]);
    world.follow();
    world.fleet.services.reverse();
    assert_eq!(world.follow(), []);
}

#[test]
fn services_that_share_a_place_keep_it_until_the_last_has_gone() {
    let web = |name| service(name, &DUAL[..1], vec![port(80, &[Handler::Http])], &SERVERS);
    let mut world = TestWorld::of(vec![web("a"), web("b")]);
    world.follow();
    world.fleet.services.remove(0);
    assert_eq!(world.follow(), []);
    world.fleet.services.clear();
    let gone = world.follow();
    assert!(matches!(gone[..], [Command::RemoveAddress(_), Command::RemoveVip(_)]), "{gone:?}");
}

#[test]
fn too_many_backends_are_an_error_and_the_rest_stands() {
    let servers: Vec<String> = (1..=65).map(|n| format!("10.0.0.{n}:80")).collect();
    let many: Vec<&str> = servers.iter().map(String::as_str).collect();
    let mut world = TestWorld::of(vec![raw()]);
    world.follow();
    let mut ids = fixture::ids();
    let circumstances = UpdateContext {
        sources: &HashMap::new(),
        sources_revision: 1,
        maglev_size: fixture::MAGLEV,
        encap: &fixture::ENCAP,
        geography: &Geography::default(),
        settings_revision: 0,
        silent: false,
        now: world.now,
    };
    let service = service("big", &DUAL, vec![port(1, &[])], &many[..32]);
    let fleet = Fleet::new(
        (0..3)
            .map(|n| {
                let service = Service { name: format!("{n}").into(), ..service.clone() };
                fixture::run(service, &mut ids)
            })
            .collect(),
    );
    let mut desired = Desired::default();
    let full = ControlError::Full { what: "backends of steered services", room: 64 };
    assert_eq!(desired.update(&fleet, &circumstances, &mut ids), Err(full));
    let fleet = Fleet::new(fleet.services[..2].to_vec());
    assert_eq!(desired.update(&fleet, &circumstances, &mut ids), Ok(()));
}

#[test]
fn one_change_costs_its_own_entries_only() {
    let many = (0..8).map(|n| {
        let servers = [format!("10.0.{n}.1:80"), format!("10.0.{n}.2:80")];
        let address = format!("203.0.113.{n}");
        service(&format!("s{n}"), &[&address], vec![port(1, &[])], &[&servers[0], &servers[1]])
    });
    let mut world = TestWorld::of(many.collect());
    world.follow();
    let mut grown = Service::clone(&world.fleet.services[3].service);
    grown.pool.servers.push(crate::service::Server::at("10.0.3.3:80".parse().unwrap()));
    world.sources.insert("10.0.3.3".parse().unwrap(), fixture::one("10.0.0.254".parse().unwrap()));
    world.fleet.services[3] = fixture::run(grown, &mut world.ids);
    let done = world.follow();
    assert!(
        matches!(
            done[..],
            [
                Command::SetBackend { id: 16, .. },
                Command::WriteRing { .. },
                Command::SetRing { service: 3, .. }
            ]
        ),
        "{done:?}"
    );
}

#[test]
fn lists_come_before_their_service_and_go_after_it() {
    let with = |access| {
        let steering = Steering { access, ..Steering::default() };
        Service { steering, ..raw() }
    };
    let networks =
        |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Arc<[_]>>();
    let deny = networks(&["10.0.0.0/8", "2001:db8::/32"]);
    let mut world = TestWorld::of(vec![with(Access { deny, ..Access::default() })]);
    let first = world.follow();
    let place = |is: fn(&Command) -> bool| first.iter().position(is).unwrap();
    let set = place(|it| matches!(it, Command::SetAccess(..)));
    assert!(set < place(|it| matches!(it, Command::SetService { .. })), "{first:?}");
    assert_eq!(world.kernel.lists.len(), 2, "one in each family's list");
    assert!(world.kernel.lists.values().all(|&access| access == abi::access::DENY));

    let access = Access { allow: networks(&["10.0.0.0/8"]), deny: networks(&["10.1.0.0/16"]) };
    world.fleet.services[0] = fixture::run(with(access), &mut world.ids);
    let second = world.follow();
    let bits = |(prefix, access): (&ListKey, &u32)| (prefix.length(), *access);
    let held: BTreeSet<_> = world.kernel.lists.iter().map(bits).collect();
    assert_eq!(held, [(104, abi::access::ALLOW), (112, abi::access::DENY)].into());
    assert!(matches!(second.last(), Some(Command::RemoveAccess(_))), "{second:?}");

    world.fleet.services.clear();
    assert!(!world.follow().is_empty() && world.kernel.lists.is_empty());
}
