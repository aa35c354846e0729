//! Reads the kernel program's counters, summed over the CPUs.

use std::os::fd::AsFd as _;

use aya::maps::{Map, MapData, PerCpuArray};
use lb_common::{
    abi::{counter, maps},
    verdict::Reason,
};

use crate::datapath::bpf::error::DatapathError;

/// Frames by verdict, since the datapath was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictCounts {
    /// Not for an announced address.
    pub pass: u64,
    /// Passed up the stack, to the proxy.
    pub proxy: u64,
    /// Rewritten and forwarded, both directions.
    pub steer: u64,
    /// Answered by the program itself (ICMP echo).
    pub reply: u64,
    drops: [u64; Reason::ALL.len()],
}

impl VerdictCounts {
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.drops[reason as usize]
    }

    /// Returns every drop reason with its count, zeroes included.
    pub fn drops(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().map(|&reason| (reason, self.dropped(reason)))
    }
}

/// Flows that were evicted, revived or moved, since the datapath was loaded: they show how full the
/// flow table was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions {
    /// Established flows, long idle, that were evicted.
    pub established: u64,
    /// Half-open flows that were evicted.
    pub half_open: u64,
    /// Confirmed flows that found no room among the established ones, at least for a while.
    pub crowded: u64,
    /// Closed flows that went on after all, and count again.
    pub revived: u64,
    /// Flows that a QUIC connection ID moved to another backend.
    pub rerouted: u64,
}

/// A reader of `COUNTERS`, `OPENED` and `EXHAUSTED`.
pub struct Counters {
    verdicts: PerCpuArray<MapData, u64>,
    opened: PerCpuArray<MapData, u64>,
    exhausted: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(crate) fn open(verdicts: Map, opened: Map, exhausted: Map) -> Result<Self, DatapathError> {
        Ok(Self {
            verdicts: per_cpu(verdicts, maps::COUNTERS)?,
            opened: per_cpu(opened, maps::OPENED)?,
            exhausted: per_cpu(exhausted, maps::EXHAUSTED)?,
        })
    }

    /// # Errors
    ///
    /// The system call failed.
    pub fn verdicts(&self) -> Result<VerdictCounts, DatapathError> {
        let read = |index| sum(&self.verdicts, index, maps::COUNTERS);
        let mut drops = [0; Reason::ALL.len()];
        for &reason in Reason::ALL {
            drops[reason as usize] = read(counter::drop(reason))?;
        }
        Ok(VerdictCounts {
            pass: read(counter::PASS)?,
            proxy: read(counter::PROXY)?,
            steer: read(counter::STEER)?,
            reply: read(counter::REPLY)?,
            drops,
        })
    }

    /// # Errors
    ///
    /// The system call failed.
    pub fn evictions(&self) -> Result<Evictions, DatapathError> {
        let read = |index| sum(&self.verdicts, index, maps::COUNTERS);
        Ok(Evictions {
            established: read(counter::EVICTED)?,
            half_open: read(counter::EVICTED_PENDING)?,
            crowded: read(counter::CROWDED)?,
            revived: read(counter::REVIVED)?,
            rerouted: read(counter::REROUTED)?,
        })
    }

    /// Returns the number of flows that the kernel opened to the backend with this id, since the id
    /// was last freed.
    ///
    /// # Errors
    ///
    /// There is no such id, or the system call failed.
    pub fn opened(&self, backend: u32) -> Result<u64, DatapathError> {
        sum(&self.opened, backend, maps::OPENED)
    }

    /// Returns the number of new flows that were refused because no source port was free, counted
    /// at the last backend tried; since the same time as [`opened`](Self::opened).
    ///
    /// # Errors
    ///
    /// As for [`opened`](Self::opened).
    pub fn exhausted(&self, backend: u32) -> Result<u64, DatapathError> {
        sum(&self.exhausted, backend, maps::EXHAUSTED)
    }
}

/// Returns a second handle to the same map.
pub(crate) fn duplicate(map: &Map, name: &'static str) -> Result<Map, DatapathError> {
    let Map::PerCpuArray(map) = map else {
        return Err(DatapathError::MapKind { name });
    };
    let fd = map.fd().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|source| DatapathError::table(name, source))?;
    let copy = MapData::from_fd(fd).map_err(|source| DatapathError::table(name, source))?;
    Ok(Map::PerCpuArray(copy))
}

pub(crate) fn per_cpu(
    map: Map,
    name: &'static str,
) -> Result<PerCpuArray<MapData, u64>, DatapathError> {
    PerCpuArray::try_from(map).map_err(|_| DatapathError::MapKind { name })
}

fn sum(
    map: &PerCpuArray<MapData, u64>,
    index: u32,
    name: &'static str,
) -> Result<u64, DatapathError> {
    let values = map.get(&index, 0).map_err(|source| DatapathError::table(name, source))?;
    Ok(values.iter().copied().fold(0, u64::wrapping_add))
}
