//! The loaded object and its programs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::{
    Ebpf,
    maps::Map,
    programs::{SkLookup, Xdp},
};
use lb_common::abi::programs;

use super::error::DatapathError;

/// The loaded object, shared by several threads.
pub(crate) type Programs = Arc<Mutex<Ebpf>>;

/// Locks the object. A panic of another thread has not harmed it: its state is the kernel's.
pub(crate) fn lock(programs: &Programs) -> MutexGuard<'_, Ebpf> {
    programs.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, DatapathError> {
    let program = ebpf.program_mut(programs::BALANCE);
    program
        .and_then(|program| program.try_into().ok())
        .ok_or(DatapathError::Missing { kind: "XDP program", name: programs::BALANCE })
}

pub(crate) fn sk_lookup(ebpf: &mut Ebpf) -> Result<&mut SkLookup, DatapathError> {
    let program = ebpf.program_mut(programs::SK_LOOKUP);
    program
        .and_then(|program| program.try_into().ok())
        .ok_or(DatapathError::Missing { kind: "sk_lookup program", name: programs::SK_LOOKUP })
}

/// Takes a map out of the loaded object.
pub(crate) fn take_map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, DatapathError> {
    ebpf.take_map(name).ok_or(DatapathError::Missing { kind: "map", name })
}
