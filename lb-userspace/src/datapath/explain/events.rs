//! The queue of decisions about traced packets.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, RawFd},
};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use lb_common::abi::{Decision, maps};
use tokio::io::unix::AsyncFd;

use crate::datapath::bpf::error::DatapathError;

/// The queue of decisions. Its descriptor is readable while the queue is not empty.
pub struct Events {
    ring: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
    /// Decisions lost before this trace.
    before: u64,
}

impl Events {
    pub(crate) fn new(ring: RingBuf<MapData>, lost: PerCpuArray<MapData, u64>) -> Self {
        Self { ring, lost, before: 0 }
    }

    /// Discards what an earlier trace left.
    pub(crate) fn begin(&mut self) -> Result<(), DatapathError> {
        while self.take().is_some() {}
        self.before = 0;
        self.before = self.lost()?;
        Ok(())
    }

    /// Returns the next decision, if there is one.
    pub fn take(&mut self) -> Option<Decision> {
        let item = self.ring.next()?;
        if item.len() != size_of::<Decision>() {
            return Some(Decision::default());
        }
        let mut decision = MaybeUninit::<Decision>::uninit();
        // SAFETY: the item has the size of a Decision, of which every bit pattern is a value (Pod).
        unsafe {
            item.as_ptr().copy_to_nonoverlapping(decision.as_mut_ptr().cast(), item.len());
            Some(decision.assume_init())
        }
    }

    /// Returns the number of decisions lost since the trace began because the queue was full.
    ///
    /// # Errors
    ///
    /// The system call failed.
    pub fn lost(&self) -> Result<u64, DatapathError> {
        let failed = |error| DatapathError::table(maps::TRACE_LOST, error);
        let counts = self.lost.get(&0, 0).map_err(failed)?;
        Ok(counts.iter().sum::<u64>().wrapping_sub(self.before))
    }

    /// Registers the queue with the tokio runtime of the caller.
    ///
    /// # Errors
    ///
    /// The system call failed.
    pub fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is the ring's own and open until the ring is dropped. Events never
        // replaces its ring, and drops it no earlier than the AsyncFd that owns Events.
        unsafe { AsyncFd::register(self) }.map_err(Into::into)
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
