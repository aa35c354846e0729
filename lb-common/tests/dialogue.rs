//! Challenges and what follows them, on the host. lb-tests has the same dialogue with the loaded
//! object.

use lb_common::{
    pipeline::balance,
    testing::{
        Frame,
        dialogue::{self, Fate},
        model::Buffer,
        world,
    },
    verdict::Verdict,
};

fn hold(family: usize, vlan: Option<u16>) -> Result<(), String> {
    let model = world::model(1 << 40);
    dialogue::challenge(family, vlan, |frame| {
        let mut buffer = Buffer::new(&frame.0);
        let fate = match balance(&mut buffer, &model) {
            Verdict::Steer { .. } => Fate::Steered,
            Verdict::Answer(reason) => Fate::Answered(reason),
            Verdict::Drop(reason) => Fate::Dropped(reason),
            other => panic!("{other:?}"),
        };
        (fate, Frame(buffer.bytes().to_vec()))
    })
}

#[test]
fn a_challenge_over_either_family_with_and_without_a_tag() {
    for family in [0, 1] {
        for vlan in [None, Some(world::CLIENT_VLAN)] {
            hold(family, vlan).unwrap_or_else(|error| panic!("{family} {vlan:?}: {error}"));
        }
    }
}
