//! The configuration, as it changes by the dice, and never takes away what the traffic uses.

mod changes;
mod pool;
mod service;
mod spoiled;
mod whole;

pub(super) use self::{
    changes::Change,
    spoiled::spoiled,
    whole::{CERTIFICATES, UPLINK, World},
};
