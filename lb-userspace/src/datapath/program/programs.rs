//! The loaded object and its programs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::{
    Ebpf,
    programs::{SkLookup, Xdp},
};
use lb_common::abi::programs;

use crate::datapath::bpf::error::DatapathError;

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
