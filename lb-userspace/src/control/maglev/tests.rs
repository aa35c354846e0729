use proptest::prelude::*;

use super::*;

fn server(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 8080))
}

fn members(weights: &[u16]) -> Vec<Member> {
    let member = |(n, &weight)| Member { server: server(n), weight, up: true };
    weights.iter().enumerate().map(member).collect()
}

/// The ring by server, which is what matters to a client.
fn ring(members: &[Member]) -> Vec<SocketAddr> {
    let owners = populate(members).into_iter();
    owners.map(|owner| members[owner].server).collect()
}

fn share(ring: &[SocketAddr], server: SocketAddr) -> f64 {
    ring.iter().filter(|&&owner| owner == server).count() as f64 / ring.len() as f64
}

/// Slots with another owner, as a share of the ring.
fn moved(before: &[SocketAddr], after: &[SocketAddr]) -> f64 {
    assert_eq!(before.len(), after.len());
    let moved = before.iter().zip(after).filter(|(a, b)| a != b).count();
    moved as f64 / before.len() as f64
}

#[test]
fn length_is_a_prime_of_at_least_a_hundred_a_member_and_steps_with_doublings() {
    for count in 1..=130 {
        let length = length(&members(&vec![1; count]));
        assert_eq!(length, prime::at_least(length));
        assert!(length as usize >= 100 * count, "{length} for {count}");
    }
    assert_eq!(length(&members(&[1; 5])), length(&members(&[1; 8])));
    assert_eq!(length(&members(&[7; 5])), length(&members(&[1; 5])));
}

#[test]
fn shares_follow_weights() {
    let many: Vec<u16> = (1..=50).collect();
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
    for count in [2, 3, 10, 50, 200] {
        let all = members(&vec![1; count]);
        let whole = ring(&all);
        for failed in 0..count.min(10) {
            let mut members = all.clone();
            members[failed].up = false;
            let after = ring(&members);
            assert_eq!(share(&after, server(failed)), 0.0);
            assert!(moved(&whole, &after) <= 1.02 / count as f64);
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

/// A server taken out of the configuration costs what the paper's figure 12 says: its own slots
/// and, by the size of the pool, some of others.
#[test]
fn a_removal_moves_little_more_than_the_removed_slots() {
    for (count, most) in [(4, 1.1), (10, 1.25), (30, 1.7)] {
        let all = members(&vec![1; count]);
        let before = ring(&all);
        let removals = (0..count).map(|gone| {
            let mut members = all.clone();
            members.remove(gone);
            moved(&before, &ring(&members))
        });
        let mean = removals.sum::<f64>() / count as f64;
        assert!(mean <= most / count as f64, "{count}: {}", mean * count as f64);
    }
}

#[test]
fn nobody_up_is_an_empty_ring() {
    let mut down = members(&[1, 1]);
    down.iter_mut().for_each(|member| member.up = false);
    assert!(populate(&down).is_empty());
    assert!(populate(&members(&[0, 0])).is_empty());
    assert!(populate(&[]).is_empty());
}

/// Nodes of different versions share traffic: these values may never change.
#[test]
fn the_hash_is_for_ever() {
    let v4 = "10.0.0.1:80".parse().unwrap();
    let v6 = "[2001:db8::1]:443".parse().unwrap();
    assert_eq!(hash(v4, 1), 5_003_805_663_786_227_974);
    assert_eq!(hash(v6, 2), 238_048_411_737_678_050);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_servers_does_not_matter(
        claims in prop::collection::vec((0u16..20, any::<bool>()), 1..12),
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..12),
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
