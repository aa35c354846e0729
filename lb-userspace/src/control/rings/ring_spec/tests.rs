use std::collections::BTreeMap;

use super::*;

const ALL: [Strategy; 5] =
    [Strategy::Maglev, Strategy::P2c, Strategy::LeastConn, Strategy::Wrr, Strategy::Random];

fn spec(strategy: Strategy, weights: &[u16]) -> RingSpec {
    let member = |(n, &weight): (usize, &u16)| RingMember {
        server: ([10, 0, 0, n as u8], 80).into(),
        weight,
        up: true,
    };
    let members = weights.iter().enumerate().map(member).collect();
    let ids = (100..).take(weights.len()).collect();
    RingSpec { strategy, size: None, members, ids, farther: Vec::new() }
}

#[test]
fn behind_the_slots_stand_those_who_take_new_flows() {
    for strategy in ALL {
        let mut spec = spec(strategy, &[1, 1, 0, 2]);
        spec.members[1].up = false;
        let (words, slots) = spec.build();
        let (slots, members) = words.split_at(slots as usize);
        assert_eq!(members, [2, 100, 103, 0], "{strategy:?}");
        assert!(slots.iter().all(|slot| [100, 103].contains(slot)));
        assert!(words.len() as u32 <= spec.room(false));
        spec.members.iter_mut().for_each(|member| member.up = false);
        assert!(spec.is_empty());
        assert_eq!(spec.build(), (vec![0, 0], 0));
    }
}

#[test]
fn behind_those_stand_the_farther_regions() {
    let mut spec = spec(Strategy::LeastConn, &[1, 1]);
    let region =
        |weights: &[u16], ids: &[u32]| FartherRegion { weights: weights.into(), ids: ids.into() };
    spec.farther = vec![region(&[2, 1], &[7, 8]), region(&[5], &[9])];
    let (words, slots) = spec.build();
    let (near, far) = words.split_at(5);
    assert_eq!((near, slots), (&[100, 101, 2, 100, 101][..], 2));
    assert_eq!(far[0], 3, "a turn for each unit of weight");
    assert_eq!(far[1..4].iter().filter(|&&id| id == 7).count(), 2);
    assert_eq!(far[4..], [2, 7, 8, 1, 9, 1, 9, 0]);
}

#[test]
fn there_is_room_wherever_servers_are() {
    for strategy in ALL {
        for weights in [&[1_u16; 9][..], &[400, 3, 1000, 7, 65535], &[1, 1]] {
            let all = spec(strategy, weights);
            let ranked = all.members.iter().zip(&all.ids);
            let ranked = ranked.enumerate().map(|(n, (&member, &id))| (n as u16, member, id));
            let mut ranked: Vec<_> = ranked.collect();
            let farther = crate::control::rings::regions::part(&mut ranked);
            let members = ranked.into_iter().map(|(_, member, _)| member).collect();
            let parted = RingSpec { members, farther, ..all.clone() };
            assert!(parted.build().0.len() as u32 <= all.room(true), "{strategy:?} {weights:?}");
        }
    }
}

/// A flow gets a random slot (maglev's hash, random's draw) or the next one (wrr).
#[test]
fn flows_are_distributed_by_weight_within_two_percent() {
    const FLOWS: usize = 100_000;
    let mut rng = fastrand::Rng::with_seed(11);
    for weights in [&[1, 1, 1, 1][..], &[1, 2, 1], &[3, 5, 4], &[500, 500, 333]] {
        for strategy in [Strategy::Maglev, Strategy::Wrr, Strategy::Random] {
            let (words, slots) = spec(strategy, weights).build();
            let mut counts = BTreeMap::new();
            for flow in 0..FLOWS {
                let slot = match strategy {
                    Strategy::Wrr => flow % slots as usize,
                    _ => rng.usize(..slots as usize),
                };
                *counts.entry(words[slot]).or_insert(0_usize) += 1;
            }
            let sum: usize = weights.iter().map(|&weight| usize::from(weight)).sum();
            for (id, &weight) in (100..).zip(weights) {
                let fair = FLOWS * usize::from(weight) / sum;
                let off = counts[&id].abs_diff(fair);
                assert!(off * 50 <= fair, "{strategy:?} {weights:?}: {counts:?}");
            }
        }
    }
}

#[test]
fn rings_of_other_strategies_are_short() {
    for (strategy, slots) in [(Strategy::LeastConn, 3), (Strategy::P2c, 4), (Strategy::Wrr, 4)] {
        assert_eq!(spec(strategy, &[10, 20, 10]).build().1, slots, "{strategy:?}");
    }
    let heavy = spec(Strategy::Wrr, &[1000, 999, 1]);
    let (words, slots) = heavy.build();
    assert!((600..=602).contains(&slots));
    assert!(words[..slots as usize].contains(&102), "the lightest has its turn");
    assert!(words.len() as u32 <= heavy.room(false));
}

#[test]
fn what_makes_a_difference_shows_in_the_fingerprint() {
    let spec = spec(Strategy::Maglev, &[1, 1]);
    let same = spec.clone();
    assert_eq!(spec.fingerprint(), same.fingerprint());
    let mut down = spec.clone();
    down.members[0].up = false;
    let mut moved = spec.clone();
    moved.ids[1] = 7;
    let other = RingSpec { strategy: Strategy::Wrr, ..spec.clone() };
    let farther = RingSpec { farther: vec![FartherRegion::default()], ..spec.clone() };
    for changed in [down, moved, other, farther] {
        assert_ne!(spec.fingerprint(), changed.fingerprint());
    }
}
