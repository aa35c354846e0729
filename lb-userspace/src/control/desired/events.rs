//! Property test: any events of a fleet, in any order.

use lb_common::abi::status;
use proptest::prelude::*;

use super::*;
use crate::control::fixture::{self, TestWorld, port, range, service};
use crate::service::Handler;

/// An event of a fleet.
#[derive(Clone, Debug)]
enum Event {
    /// The service is added, changed or removed: the bits say which servers it has. 0 removes it.
    Service(u8, u8),
    Health(u8, u8, bool),
    Drain(u8, u8, bool),
    Route(u8, bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0u8..4, 0u8..64).prop_map(|(service, servers)| Event::Service(service, servers)),
        2 => (0u8..4, 0u8..6, any::<bool>()).prop_map(|(s, b, up)| Event::Health(s, b, up)),
        1 => (0u8..4, 0u8..6, any::<bool>()).prop_map(|(s, b, off)| Event::Drain(s, b, off)),
        1 => (0u8..6, any::<bool>()).prop_map(|(server, known)| Event::Route(server, known)),
    ]
}

fn happen(world: &mut TestWorld, event: &Event) {
    let name = |n: u8| format!("s{n}");
    let running = |world: &TestWorld, n: u8| {
        let mut services = world.fleet.services.iter();
        services.find(|running| *running.service.name == *name(n)).cloned()
    };
    match *event {
        Event::Service(n, servers) => {
            world.fleet.services.retain(|running| *running.service.name != *name(n));
            let chosen = (0..6).filter(|bit| servers & 1 << bit != 0);
            let chosen: Vec<String> = chosen.map(|bit| format!("10.0.0.{}:80", bit + 1)).collect();
            if !chosen.is_empty() {
                let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
                // Two services share an address, and on it a port that is proxied.
                let address = format!("203.0.113.{}", n / 2);
                let proxied = port(80, &[Handler::Http]);
                let mut ports = vec![port(1000 + u16::from(n), &[]), proxied];
                if servers & 3 != 0 {
                    let first = 2000 + 100 * u16::from(n);
                    ports.push(range(first, first + u16::from(servers)));
                }
                let mut service = service(&name(n), &[&address], ports, &chosen);
                if servers & 6 != 0 {
                    service.pool.servers.iter_mut().for_each(identify);
                }
                if servers & 8 != 0 {
                    service.steering.limits.hard = Some(1);
                }
                for (server, region) in service.pool.servers.iter_mut().zip(["near", "far"]) {
                    server.region = Some(region.into());
                }
                world.fleet.services.push(fixture::run(service, &mut world.ids));
            }
        }
        Event::Health(n, server, up) => with_backend(running(world, n), server, |b| b.set_up(up)),
        Event::Drain(n, server, off) => {
            with_backend(running(world, n), server, |b| b.set_draining(off));
        }
        Event::Route(server, known) => {
            let server: IpAddr = [10, 0, 0, server + 1].into();
            world.revision += 1;
            match known {
                true => drop(world.sources.insert(server, fixture::one([10, 0, 0, 254].into()))),
                false => drop(world.sources.remove(&server)),
            }
        }
    }
}

/// Gives a server an id.
pub(crate) fn identify(server: &mut crate::service::Server) {
    let IpAddr::V4(address) = server.address.ip() else { panic!("IPv6") };
    server.server_id = Some(address.octets()[3..].into());
}

fn with_backend(
    running: Option<Arc<RunningService>>,
    server: u8,
    change: impl Fn(&crate::fleet::Backend),
) {
    let Some(running) = running else { return };
    if let Some(backend) = running.backends.get(usize::from(server)) {
        change(backend);
        running.touch();
    }
}

/// Free room may be split into two gaps that are both too small.
#[test]
fn rings_find_room_between_others() {
    use Event::{Health, Route, Service};
    let mut world = TestWorld::new();
    let events = [
        (Service(3, 35), false),
        (Service(0, 33), false),
        (Route(5, true), true),
        (Service(3, 61), false),
        (Health(0, 0, false), true),
        (Service(1, 41), false),
        (Service(2, 47), true),
        (Route(3, true), false),
    ];
    for (event, follows) in &events {
        happen(&mut world, event);
        if *follows {
            world.follow();
        }
    }
    world.follow();
    assert_eq!(world.follow(), vec![]);
}

/// One ring moves to make room for another, and a third one fits where the moved one goes.
#[test]
fn where_a_ring_moves_no_other_is_written() {
    use Event::{Route, Service};
    let mut world = TestWorld::new();
    world.geography.local = Some("near".into());
    let events = [
        (Route(2, true), false),
        (Route(0, true), false),
        (Service(1, 47), true),
        (Service(2, 55), false),
        (Service(0, 5), false),
        (Route(1, true), true),
        (Service(0, 61), true),
        (Route(0, false), true),
    ];
    for (event, follows) in &events {
        happen(&mut world, event);
        if *follows {
            world.follow();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Incremental updates give the same as a fresh start, and every step is safe: the fake kernel
    /// checks that.
    #[test]
    fn what_was_kept_up_to_date_is_what_would_be_made_anew(
        events in prop::collection::vec((event(), any::<bool>(), any::<bool>()), 1..40),
    ) {
        let mut world = TestWorld::new();
        world.geography.local = Some("near".into());
        for (event, follows, busy) in &events {
            happen(&mut world, event);
            if *follows {
                // If all rings change at once, they may lie so that none finds a place beside the
                // old ones; the daemon's table has room for many more.
                prop_assume!(world.try_to_follow(|_| *busy).is_ok());
            }
        }
        prop_assume!(world.try_to_follow(|_| false).is_ok());
        prop_assert_eq!(world.follow(), vec![]);
        let mut fresh = Desired::default();
        std::mem::swap(&mut fresh, &mut world.desired);
        world.update();
        let (anew, kept, kernel) = (&world.desired, &fresh, &world.kernel);
        prop_assert_eq!(&anew.services, &kept.services);
        prop_assert_eq!(&anew.backends, &kept.backends);
        for (id, steered) in &anew.services {
            let expected =
                if steered.spec.is_empty() { Vec::new() } else { steered.spec.build().0 };
            prop_assert_eq!(kernel.ring(*id), expected);
            prop_assert_eq!(kernel.services.get(id).copied().unwrap_or_default(), steered.service);
        }
        prop_assert!(kernel.current.keys().all(|id| anew.services.contains_key(id)));
        prop_assert_eq!(kernel.backends.len(), anew.backends.len());
        for (id, placed) in &anew.backends {
            prop_assert_eq!(&kernel.backends[id], &placed.backend);
            let status = kernel.statuses.get(id).copied().unwrap_or(status::HERE);
            prop_assert_eq!(status, placed.status);
        }
        prop_assert_eq!(kernel.addresses.len(), anew.addresses.keys().count());
        for (address, flags) in &kernel.addresses {
            prop_assert_eq!(anew.address(address), Some(*flags));
        }
        prop_assert_eq!(kernel.ranges.len(), anew.ranges.keys().count());
        for (key, vip) in &kernel.ranges {
            prop_assert_eq!(anew.ranges.find(key), Some(vip));
        }
        prop_assert_eq!(kernel.quic_ids.len(), anew.quic_ids.keys().count());
        for (key, backend) in &kernel.quic_ids {
            prop_assert_eq!(anew.quic_ids.find(key), Some(backend));
        }
        prop_assert_eq!(kernel.vips.len(), anew.vips.keys().count());
        for (key, vip) in &kernel.vips {
            prop_assert_eq!(anew.vips.find(key), Some(vip));
        }
    }
}
