//! What happens in a sequence: frames, time that passes, and changes by the daemon.

use std::fmt;

use lb::tables::Command;
use lb_common::{
    abi::{Reach, Ring, status},
    testing::Model,
};

use super::{grammar::Grammar, world};
use crate::dice::Dice;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// One arrives; random numbers go on from that state.
    Frame {
        bytes: Vec<u8>,
        random: u64,
    },
    /// So many ns pass.
    Wait(u64),
    Change(Command),
}

const SECOND: u64 = 1_000_000_000;
const WAITS: [u64; 9] = [
    1,
    SECOND / 1000,
    SECOND / 10,
    SECOND,
    2 * SECOND + 1,
    31 * SECOND,
    70 * SECOND,
    3600 * SECOND,
    80_000 * SECOND,
];

impl Step {
    pub(super) fn roll(dice: &mut Dice, model: &Model, grammar: &mut Grammar) -> Self {
        match dice.below(40) {
            0 => Self::Wait(dice.pick(&WAITS)),
            1 => Self::Wait(dice.word() % SECOND),
            2 => change(dice, model).map_or(Self::Wait(1), Self::Change),
            _ => Self::Frame { bytes: grammar.frame(dice, model), random: dice.word() },
        }
    }
}

/// Something that the daemon may do while packets are under way. `None`: nothing comes to mind.
fn change(dice: &mut Dice, model: &Model) -> Option<Command> {
    let service = dice.below(model.services.len()) as u32;
    let ring = model.current_rings[service as usize];
    let held = members(model, ring);
    match dice.below(6) {
        0..3 if !model.backends.is_empty() => {
            let id = dice.below(model.backends.len()) as u32;
            Some(Command::SetStatus {
                id,
                status: dice.pick(&[status::HERE, status::GONE, status::LEAVING]),
            })
        }
        3 if !held.is_empty() => {
            let id = dice.pick(&held);
            let mode = model.services[service as usize].mode;
            let old = model.backends[id as usize];
            let new = world::backend(dice, world::family(service), mode);
            // Its place, its name and its count stay.
            let backend = lb_common::abi::Backend {
                address: old.address,
                source: old.source,
                load: old.load,
                port: old.port,
                ..new
            };
            Some(Command::SetBackend { id, backend })
        }
        4 => {
            let mode = model.services[service as usize].mode;
            let length = model.services[service as usize].server_id_length;
            let new = world::service(dice);
            let new = lb_common::abi::Service { mode, server_id_length: length, ..new };
            Some(Command::SetService { id: service, service: new })
        }
        5 if dice.one_in(3) => Some(Command::SetRing { service, ring: Ring::default() }),
        _ => None,
    }
}

fn members(model: &Model, ring: Ring) -> Vec<u32> {
    if ring.length() == 0 {
        return Vec::new();
    }
    let end = (ring.offset() + ring.length()) as usize;
    model.rings[end + 1..][..model.rings[end] as usize].to_vec()
}

/// The change in the model, as `lb::datapath::Tables::apply` makes it in the kernel.
pub(super) fn apply(model: &mut Model, command: &Command) {
    match *command {
        Command::SetStatus { id, status } => reach(model, id).status = status,
        Command::SetBackend { id, backend } => {
            model.backends[id as usize] = backend;
            reach(model, id).at = 0;
        }
        Command::SetService { id, service } => model.services[id as usize] = service,
        Command::SetRing { service, ring } => model.current_rings[service as usize] = ring,
        ref other => panic!("no step is {other:?}"),
    }
}

fn reach(model: &mut Model, id: u32) -> &mut Reach {
    model.reach[id as usize].get_mut()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame { bytes, random } => {
                write!(f, "frame, random {random:#x}: ")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Wait(time) => write!(f, "{time} ns pass"),
            Self::Change(command) => write!(f, "{command:?}"),
        }
    }
}
