//! What traced packets tell.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, RawFd},
};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use lb_common::abi::{Decision, maps};
use tokio::io::unix::AsyncFd;

use crate::datapath::bpf::error::DatapathError;

/// The queue of decisions. Its descriptor is readable while there are any.
pub struct Events {
    ring: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
    /// How many were lost before anybody asked.
    before: u64,
}

impl Events {
    pub(crate) fn new(ring: RingBuf<MapData>, lost: PerCpuArray<MapData, u64>) -> Self {
        Self { ring, lost, before: 0 }
    }

    /// Forgets what an earlier trace left.
    pub(crate) fn begin(&mut self) -> Result<(), DatapathError> {
        while self.take().is_some() {}
        self.before = 0;
        self.before = self.lost()?;
        Ok(())
    }

    /// The next one, if it is there.
    pub fn take(&mut self) -> Option<Decision> {
        let item = self.ring.next()?;
        if item.len() != size_of::<Decision>() {
            return Some(Decision::default());
        }
        let mut decision = MaybeUninit::<Decision>::uninit();
        // SAFETY: as many bytes as a Decision has, of which every pattern is a value (Pod).
        unsafe {
            item.as_ptr().copy_to_nonoverlapping(decision.as_mut_ptr().cast(), item.len());
            Some(decision.assume_init())
        }
    }

    /// Decisions that found no room in the queue since the trace began.
    ///
    /// # Errors
    ///
    /// The system call failed.
    pub fn lost(&self) -> Result<u64, DatapathError> {
        let failed = |error| DatapathError::table(maps::TRACE_LOST, error);
        let counts = self.lost.get(&0, 0).map_err(failed)?;
        Ok(counts.iter().sum::<u64>().wrapping_sub(self.before))
    }

    /// Has the runtime wait for it. Call it within one.
    ///
    /// # Errors
    ///
    /// The system call failed.
    pub fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is the ring's own, open until the ring is dropped, and Events,
        // which never exchanges its ring, drops it no earlier than the AsyncFd that has it.
        unsafe { AsyncFd::register(self) }.map_err(Into::into)
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
