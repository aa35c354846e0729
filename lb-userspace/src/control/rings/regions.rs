//! Chooses the region for new flows, and the next ones when that is full.

use super::{
    maglev::RingMember,
    ring_spec::{FARTHER, FartherRegion},
};

/// Marks all members as down except those of the nearest region that has any up. Returns the
/// regions behind it, nearest first.
///
/// Each member comes with its rank, which is lower where it is nearer, and its id.
pub(crate) fn part(members: &mut [(u16, RingMember, u32)]) -> Vec<FartherRegion> {
    let is_there = |member: &RingMember| member.up && member.weight > 0;
    let there = members.iter().filter(|(_, member, _)| is_there(member));
    let mut ranks: Vec<u16> = there.map(|(rank, ..)| *rank).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let Some((&nearest, behind)) = ranks.split_first() else { return Vec::new() };
    let mut farther = vec![FartherRegion::default(); behind.len().min(FARTHER)];
    for (rank, member, id) in members.iter_mut().filter(|(rank, ..)| *rank != nearest) {
        if is_there(member) {
            let place = behind.partition_point(|it| it < rank);
            let region = &mut farther[place.min(FARTHER - 1)];
            region.weights.push(member.weight);
            region.ids.push(*id);
        }
        member.up = false;
    }
    farther
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(rank: u16, id: u32, weight: u16, up: bool) -> (u16, RingMember, u32) {
        (rank, RingMember { server: ([10, 0, 0, id as u8], 80).into(), weight, up }, id)
    }

    fn up(members: &[(u16, RingMember, u32)]) -> Vec<u32> {
        members.iter().filter(|member| member.1.up).map(|member| member.2).collect()
    }

    #[test]
    fn the_others_follow_in_order() {
        let mut members = [
            member(2, 0, 5, true),
            member(0, 1, 0, true),
            member(0, 2, 1, false),
            member(1, 3, 1, true),
            member(9, 4, 7, true),
            member(2, 5, 6, true),
        ];
        let farther = part(&mut members);
        assert_eq!(up(&members), [3], "of the nearest, one has no weight and one is down");
        let region = |weights: &[u16], ids: &[u32]| FartherRegion {
            weights: weights.into(),
            ids: ids.into(),
        };
        assert_eq!(farther, [region(&[5, 6], &[0, 5]), region(&[7], &[4])]);
    }

    #[test]
    fn what_is_too_far_to_be_told_apart_is_one() {
        let mut members: Vec<_> = (0..8).map(|n| member(n as u16 * 3, n, 1, true)).collect();
        let ids: Vec<_> = part(&mut members).into_iter().map(|region| region.ids).collect();
        assert_eq!(up(&members), [0]);
        assert_eq!(ids, [vec![1], vec![2], vec![3, 4, 5, 6, 7]]);
    }

    #[test]
    fn nobody_is_nowhere() {
        assert_eq!(part(&mut [member(0, 0, 1, false)]), []);
    }
}
