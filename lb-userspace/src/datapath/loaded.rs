//! The loaded object, and the programs in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::{
    Ebpf,
    programs::{SkLookup, Xdp},
};
use lb_common::abi::programs;

use super::error::DatapathError;

/// The loaded object, which more than one thread works with.
pub(super) type Programs = Arc<Mutex<Ebpf>>;

/// A panic elsewhere has not harmed it: its state is the kernel's.
pub(super) fn lock(programs: &Programs) -> MutexGuard<'_, Ebpf> {
    programs.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, DatapathError> {
    let program = ebpf.program_mut(programs::BALANCE);
    program
        .and_then(|program| program.try_into().ok())
        .ok_or(DatapathError::Missing { kind: "XDP program", name: programs::BALANCE })
}

pub(super) fn sk_lookup(ebpf: &mut Ebpf) -> Result<&mut SkLookup, DatapathError> {
    let program = ebpf.program_mut(programs::STEER);
    program
        .and_then(|program| program.try_into().ok())
        .ok_or(DatapathError::Missing { kind: "sk_lookup program", name: programs::STEER })
}
