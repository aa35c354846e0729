use lb_common::abi::{Address, Backend, Vip, VipKey, path};
use proptest::{
    collection::{btree_map, btree_set, vec},
    prelude::*,
};

use super::*;

const ROOM: u32 = 256;

fn backend(n: u8) -> Backend {
    Backend {
        address: Address::v4([10, 0, 0, n]),
        port: [0, 80],
        load: n.into(),
        ..Backend::default()
    }
}

fn key(n: u8) -> VipKey {
    VipKey::new(Address::v4([203, 0, 113, n % 4]), [0, n], 6)
}

/// Tables that make sense: rings name backends that exist, VIPs services that exist.
fn desired() -> impl Strategy<Value = Desired> {
    let backends = btree_map(0u32..8, (0u8..4).prop_map(backend), 1..8);
    let rings = btree_map(0u32..4, vec(any::<prop::sample::Index>(), 0..12), 1..4);
    let vips = btree_map((0u8..8).prop_map(key), any::<(bool, prop::sample::Index)>(), 0..8);
    let addresses = btree_set((0u8..4).prop_map(|n| key(n).address), 0..4);
    (backends, rings, vips, addresses).prop_map(|(backends, rings, vips, addresses)| {
        let ids: Vec<u32> = backends.keys().copied().collect();
        let ring =
            |picks: Vec<prop::sample::Index>| picks.iter().map(|pick| *pick.get(&ids)).collect();
        let services = rings.into_iter().map(|(id, picks)| (id, ring(picks)));
        let services: BTreeMap<u32, Vec<u32>> = services.collect();
        let ids: Vec<u32> = services.keys().copied().collect();
        let vip = |(steer, pick): (bool, prop::sample::Index)| match steer {
            true => Vip { service: *pick.get(&ids), path: path::STEER },
            false => Vip { service: 0, path: path::PROXY },
        };
        Desired {
            vips: vips.into_iter().map(|(key, choice)| (key, vip(choice))).collect(),
            addresses,
            services,
            backends,
            ..Desired::default()
        }
    })
}

/// What a packet to a VIP would meet: never a ring beyond the table, never a missing backend.
fn check(actual: &Tables) {
    for vip in actual.vips.values().filter(|vip| vip.path == path::STEER) {
        let ring = actual.current_rings.get(&vip.service).copied().unwrap_or_default();
        assert!(ring.offset() + ring.length() <= ROOM);
        for id in actual.ring(vip.service) {
            assert!(actual.backends.contains_key(id), "{id} is not there");
        }
    }
}

/// Carries out the plan step by step. No ring that a packet in flight may read changes under it.
fn carry_out(desired: &Desired, actual: &mut Tables) -> Vec<Command> {
    let commands = plan(desired, actual).unwrap();
    let before = actual.clone();
    for command in &commands {
        actual.apply(command);
        check(actual);
        for (&id, &ring) in &before.current_rings {
            let words = ring.offset() as usize..(ring.offset() + before.span(ring)) as usize;
            assert_eq!(actual.rings[words.clone()], before.rings[words], "overwritten in flight");
            let mut slots = before.ring(id).iter();
            assert!(slots.all(|id| actual.backends.contains_key(id)), "cleared in flight");
        }
    }
    commands
}

fn reached(desired: &Desired, actual: &Tables) {
    assert_eq!(actual.vips, desired.vips);
    assert_eq!(actual.addresses, desired.addresses);
    for (&id, ring) in &desired.services {
        assert_eq!(actual.ring(id), ring);
        let members = ring.iter().collect::<BTreeSet<_>>();
        let current = actual.current_rings.get(&id).copied().unwrap_or_default();
        let end = (current.offset() + current.length()) as usize;
        if !ring.is_empty() {
            assert_eq!(actual.rings[end] as usize, members.len());
            assert!(actual.rings[end + 1..][..members.len()].iter().eq(members));
        }
    }
    for (id, backend) in &desired.backends {
        assert_eq!(actual.backends.get(id), Some(backend));
    }
}

proptest! {
    #[test]
    fn a_plan_leads_from_anywhere_to_the_desired_state(states in vec(desired(), 1..6)) {
        let mut actual = Tables::new(ROOM);
        for desired in &states {
            carry_out(desired, &mut actual);
            reached(desired, &actual);
        }
        let desired = states.last().unwrap();
        carry_out(desired, &mut actual);
        prop_assert_eq!(&actual.backends, &desired.backends, "cleared in the plan after");
        prop_assert_eq!(plan(desired, &actual).unwrap(), []);
    }
}

fn steered(ring: Vec<u32>) -> Desired {
    Desired {
        addresses: [key(1).address].into(),
        vips: [(key(1), Vip { service: 0, path: path::STEER })].into(),
        services: [(0, ring)].into(),
        backends: [(0, backend(1)), (1, backend(2))].into(),
        ..Desired::default()
    }
}

#[test]
fn a_failure_costs_one_ring_and_one_pointer() {
    let mut actual = Tables::new(ROOM);
    carry_out(&steered(vec![0, 1, 0]), &mut actual);
    let commands = carry_out(&steered(vec![1, 1, 1]), &mut actual);
    let words = vec![1, 1, 1, 1, 1];
    assert_eq!(
        commands,
        [
            // Behind three slots and two members with their number.
            Command::WriteRing { offset: 6, words },
            Command::SetRing { service: 0, ring: Ring::new(6, 3) }
        ]
    );
}

#[test]
fn two_places_are_enough_for_one_ring() {
    let mut actual = Tables::new(10);
    for turn in 0..5 {
        carry_out(&steered(vec![turn % 2; 3]), &mut actual);
    }
}

#[test]
fn nobody_up_empties_the_service() {
    let mut actual = Tables::new(ROOM);
    carry_out(&steered(vec![0, 1]), &mut actual);
    let ring = Ring::default();
    let commands = carry_out(&steered(vec![]), &mut actual);
    assert_eq!(commands, [Command::SetRing { service: 0, ring }]);
}

#[test]
fn a_ring_that_does_not_fit_is_an_error() {
    let mut actual = Tables::new(10);
    carry_out(&steered(vec![0, 1, 0]), &mut actual);
    let error = plan(&steered(vec![1, 1, 1]), &actual);
    assert_eq!(error, Err(Error::RingSpace { length: 5, room: 10 }));
}
