use proptest::prelude::*;

use super::*;

/// A ring size that does not depend on its members.
const SIZE: Option<u32> = Some(32_768);

fn server(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 8080))
}

fn members(weights: &[u16]) -> Vec<RingMember> {
    let member = |(n, &weight)| RingMember { server: server(n), weight, up: true };
    weights.iter().enumerate().map(member).collect()
}

/// The ring by server, which is what clients notice.
fn ring(members: &[RingMember]) -> Vec<SocketAddr> {
    ring_of(SIZE, members)
}

fn ring_of(size: Option<u32>, members: &[RingMember]) -> Vec<SocketAddr> {
    let owners = populate(members, size).into_iter();
    owners.map(|owner| members[owner].server).collect()
}

fn share(ring: &[SocketAddr], server: SocketAddr) -> f64 {
    ring.iter().filter(|&&owner| owner == server).count() as f64 / ring.len() as f64
}

/// Returns the share of slots with another owner.
fn moved(before: &[SocketAddr], after: &[SocketAddr]) -> f64 {
    assert_eq!(before.len(), after.len());
    let moved = before.iter().zip(after).filter(|(a, b)| a != b).count();
    moved as f64 / before.len() as f64
}

#[test]
fn a_given_length_does_not_depend_on_the_members_but_where_they_are_very_many() {
    let length = |count, size| length(&members(&vec![1; count]), Some(size));
    assert_eq!((length(0, 32_768), length(1, 32_768)), (0, 1));
    for count in 2..=256 {
        assert_eq!(length(count, 32_768), 32_768);
    }
    assert_eq!((length(257, 32_768), length(1000, 32_768)), (65_536, 131_072));
    assert_eq!((length(2, 1021), length(10, 1021)), (1021, 2042));
}

#[test]
fn few_members_have_a_small_ring() {
    let length = |weights: &[u16]| length(&members(weights), None);
    assert_eq!((length(&[]), length(&[5])), (0, 1));
    for count in 2..=16 {
        assert_eq!(length(&vec![7; count]), 8192);
    }
    assert_eq!((length(&[1; 17]), length(&[1; 256]), length(&[1; 257])), (32_768, 32_768, 65_536));
    let mut most = vec![1; 16];
    most.extend([0; 100]);
    assert_eq!(length(&most), 8192, "who has no weight does not count");
    assert_eq!((length(&[1, 127]), length(&[1, 128])), (8192, 32_768), "the lightest needs slots");
}

/// A small ring gives the same guarantees as a large one.
#[test]
fn a_small_ring_is_as_fair_and_moves_as_little() {
    for count in 2..=16_usize {
        let all = members(&vec![3; count]);
        let whole = ring_of(None, &all);
        assert_eq!(whole.len(), 8192);
        for member in &all {
            let off = (share(&whole, member.server) * count as f64 - 1.0).abs();
            assert!(off <= 0.01, "one of {count} is off by {off}");
        }
        for gone in (0..count).step_by(3) {
            let mut rest = all.clone();
            rest.remove(gone);
            let after = ring_of(None, &rest);
            if rest.len() > 1 {
                let moved = moved(&whole, &after) * count as f64;
                assert!(moved <= 1.2, "{gone} of {count}: {moved:.3} / {count}");
            }
        }
    }
}

#[test]
fn shares_follow_weights() {
    let many: Vec<u16> = (1..=20).collect();
    for weights in [&[1, 1, 1][..], &[1, 2, 3], &[1, 100], &[5, 0, 5, 10], &many] {
        let members = members(weights);
        let ring = ring(&members);
        let sum: u16 = weights.iter().sum();
        for member in members {
            let fair = f64::from(member.weight) / f64::from(sum);
            let off = (share(&ring, member.server) - fair).abs();
            assert!(off <= 0.01 * fair.max(0.1), "{weights:?}: {member:?} is off by {off}");
        }
    }
}

#[test]
fn the_lightest_is_not_forgotten() {
    let mut weights = vec![1000; 99];
    weights.push(1);
    let ring = ring(&members(&weights));
    assert!(share(&ring, server(99)) > 0.0);
}

#[test]
fn a_failure_moves_the_slots_of_the_failed_and_no_others() {
    for count in [2, 3, 10, 50, 130] {
        let all = members(&vec![1; count]);
        let whole = ring(&all);
        for failed in (0..count).step_by(count.div_ceil(4)) {
            let mut members = all.clone();
            members[failed].up = false;
            let after = ring(&members);
            assert_eq!(share(&after, server(failed)), 0.0);
            assert_eq!(moved(&whole, &after), share(&whole, server(failed)));
            assert!(
                whole.iter().zip(&after).all(|(was, is)| was == is || *was == server(failed)),
                "of {count} another than {failed} lost a slot"
            );
        }
    }
}

#[test]
fn survivors_share_alike() {
    let mut members = members(&[1; 10]);
    for failed in 0..5 {
        members[failed].up = false;
        let ring = ring(&members);
        for up in members.iter().filter(|member| member.up) {
            let fair = 1.0 / (9 - failed) as f64;
            assert!((share(&ring, up.server) - fair).abs() < 0.02 * fair);
        }
    }
}

/// Removes members from `most` down to `least`, in an order that does not depend on hashes.
fn remove_one_by_one(most: usize, least: usize) {
    let mut members = members(&vec![1; most]);
    let mut before = ring(&members);
    while members.len() > least {
        let count = members.len();
        members.remove(count * 7 % 10 * count / 10);
        let after = ring(&members);
        let moved = moved(&before, &after) * count as f64;
        assert!(moved <= 1.2, "one of {count}: {moved:.3} / {count}");
        before = after;
    }
}

#[test]
fn a_removal_moves_at_most_a_fifth_more_than_the_removed_slots() {
    remove_one_by_one(50, 2);
    for most in [60, 72, 82, 92, 100] {
        remove_one_by_one(most, most - 2);
    }
}

/// What exact shares would give up for few moves.
#[test]
fn shares_of_many_are_still_near() {
    let members = members(&[1; 100]);
    let ring = ring(&members);
    for member in members {
        let share = share(&ring, member.server) * 100.0;
        assert!((0.8..=1.15).contains(&share), "{share}");
    }
}

#[test]
fn nobody_up_is_an_empty_ring() {
    let mut down = members(&[1, 1]);
    down.iter_mut().for_each(|member| member.up = false);
    assert!(populate(&down, SIZE).is_empty());
    assert!(populate(&members(&[0, 0]), SIZE).is_empty());
    assert!(populate(&[], SIZE).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_servers_does_not_matter(
        claims in prop::collection::vec((0u16..20, any::<bool>()), 1..12),
        swaps in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..12),
    ) {
        let mut members = members(&claims.iter().map(|claim| claim.0).collect::<Vec<_>>());
        for (member, claim) in members.iter_mut().zip(&claims) {
            member.up = claim.1;
        }
        let before = ring(&members);
        for (a, b) in swaps {
            let count = members.len();
            members.swap(a.index(count), b.index(count));
        }
        prop_assert_eq!(before, ring(&members));
    }
}
