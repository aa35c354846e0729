use std::collections::BTreeMap;

use super::*;

const ALL: [Strategy; 5] =
    [Strategy::Maglev, Strategy::P2c, Strategy::LeastConn, Strategy::Wrr, Strategy::Random];

fn recipe(strategy: Strategy, weights: &[u16]) -> Recipe {
    let member = |(n, &weight): (usize, &u16)| Member {
        server: ([10, 0, 0, n as u8], 80).into(),
        weight,
        up: true,
    };
    let members = weights.iter().enumerate().map(member).collect();
    let ids = (100..).take(weights.len()).collect();
    Recipe { strategy, size: None, members, ids }
}

#[test]
fn behind_the_slots_stand_those_who_take_new_flows() {
    for strategy in ALL {
        let mut recipe = recipe(strategy, &[1, 1, 0, 2]);
        recipe.members[1].up = false;
        let (words, slots) = recipe.bake();
        let (slots, members) = words.split_at(slots as usize);
        assert_eq!(members, [2, 100, 103], "{strategy:?}");
        assert!(slots.iter().all(|slot| [100, 103].contains(slot)));
        assert!(words.len() as u32 <= recipe.room());
        recipe.members.iter_mut().for_each(|member| member.up = false);
        assert!(recipe.is_empty());
        assert_eq!(recipe.bake(), (vec![0], 0));
    }
}

/// A flow falls on a slot by chance (maglev's hash, random's draw) or takes the next (wrr).
#[test]
fn flows_are_distributed_by_weight_within_two_percent() {
    const FLOWS: usize = 100_000;
    let mut rng = fastrand::Rng::with_seed(11);
    for weights in [&[1, 1, 1, 1][..], &[1, 2, 1], &[3, 5, 4], &[500, 500, 333]] {
        for strategy in [Strategy::Maglev, Strategy::Wrr, Strategy::Random] {
            let (words, slots) = recipe(strategy, weights).bake();
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
        assert_eq!(recipe(strategy, &[10, 20, 10]).bake().1, slots, "{strategy:?}");
    }
    let heavy = recipe(Strategy::Wrr, &[1000, 999, 1]);
    let (words, slots) = heavy.bake();
    assert!((600..=602).contains(&slots));
    assert!(words[..slots as usize].contains(&102), "the lightest has its turn");
    assert!(words.len() as u32 <= heavy.room());
}

#[test]
fn what_makes_a_difference_shows_in_the_fingerprint() {
    let recipe = recipe(Strategy::Maglev, &[1, 1]);
    let same = recipe.clone();
    assert_eq!(recipe.fingerprint(), same.fingerprint());
    let mut down = recipe.clone();
    down.members[0].up = false;
    let mut moved = recipe.clone();
    moved.ids[1] = 7;
    let other = Recipe { strategy: Strategy::Wrr, ..recipe.clone() };
    for changed in [down, moved, other] {
        assert_ne!(recipe.fingerprint(), changed.fingerprint());
    }
}
