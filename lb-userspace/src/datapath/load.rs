//! Sizing and loading the kernel object.

use std::{ops::RangeInclusive, path::PathBuf};

use aya::{
    Ebpf, EbpfLoader,
    maps::Map,
    programs::{SkLookup, Xdp},
};
use lb_common::abi::{globals, maps, programs};
use tracing::debug;

use super::{DatapathError, object, secret::Secret};
use crate::settings::Node;

/// Room in the kernel's tables, and what the program must know from the start. All of it is fixed
/// while the program is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatapathConfig {
    /// Flows at a time. FLOWS has two entries for each.
    pub max_flows: u32,
    /// Source ports of steered flows. Not empty.
    pub source_ports: RangeInclusive<u16>,
    /// Backends, a server counted once for each service that steers to it.
    pub backends: u32,
    pub services: u32,
    /// Address, port and protocol each. The announced addresses get as many.
    pub vips: u32,
    /// Ring slots of all services together, old and new rings at the time of a change included.
    pub ring_slots: u32,
    /// Different backend addresses and ports.
    pub load_slots: u32,
}

impl Default for DatapathConfig {
    fn default() -> Self {
        Self {
            max_flows: 262_144,
            source_ports: 2048..=32767,
            backends: 65_536,
            services: 16_384,
            vips: 65_536,
            ring_slots: 1 << 20,
            load_slots: 65_536,
        }
    }
}

impl From<&Node> for DatapathConfig {
    fn from(node: &Node) -> Self {
        Self {
            max_flows: node.max_flows,
            source_ports: node.source_ports.clone(),
            ..Self::default()
        }
    }
}

impl DatapathConfig {
    /// `max_entries` of every map whose size is not fixed by its meaning.
    pub(super) fn sizes(&self) -> [(&'static str, u32); 10] {
        [
            (maps::FLOWS, self.max_flows.saturating_mul(2)),
            (maps::VIPS, self.vips),
            (maps::ADDRESSES, self.vips),
            (maps::SERVICES, self.services),
            (maps::RINGS, self.ring_slots),
            (maps::BACKENDS, self.backends),
            (maps::HOPS, self.backends),
            (maps::OPENED, self.backends),
            (maps::LOAD, self.load_slots),
            (maps::PORTS, self.load_slots),
        ]
    }

    fn port_count(&self) -> u32 {
        let (first, last) = (*self.source_ports.start(), *self.source_ports.end());
        (u32::from(last) + 1).saturating_sub(u32::from(first))
    }
}

/// The global that [`secret`](super::secret) is about.
const SEED: &str = "SEED";

/// Opens the maps that are pinned at `kept` (name, path), creates the others and loads both
/// programs; nothing is attached yet.
pub(super) fn load(
    config: &DatapathConfig,
    kept: &[(String, PathBuf)],
    secret: &Secret,
) -> Result<Ebpf, DatapathError> {
    object::check_version(object::OBJECT)?;
    raise_memlock();
    let first = u32::from(*config.source_ports.start());
    let count = config.port_count();
    let mut loader = EbpfLoader::new();
    loader.override_global(globals::SOURCE_PORT_FIRST, &first, true).override_global(
        globals::SOURCE_PORT_COUNT,
        &count,
        true,
    );
    // An object whose flow table the kernel hashes has none.
    loader.override_global(SEED, secret, false);
    for (name, size) in config.sizes() {
        loader.map_max_entries(name, size);
    }
    for (name, path) in kept {
        loader.map_pin_path(name, path.as_path());
    }
    let mut ebpf = loader.load(object::OBJECT).map_err(DatapathError::load)?;
    xdp(&mut ebpf)?.load().map_err(|error| DatapathError::program(programs::BALANCE, error))?;
    sk_lookup(&mut ebpf)?.load().map_err(|error| DatapathError::program(programs::STEER, error))?;
    Ok(ebpf)
}

/// Kernels before 5.11 count BPF memory against this limit. Without CAP_SYS_RESOURCE it cannot be
/// raised, and on newer kernels it need not be.
fn raise_memlock() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `unlimited` is a whole rlimit that is only read.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) } != 0 {
        let error = std::io::Error::last_os_error();
        debug!(%error, "RLIMIT_MEMLOCK stays as it is");
    }
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

pub(super) fn take_map(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, DatapathError> {
    ebpf.take_map(name).ok_or(DatapathError::Missing { kind: "map", name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_the_port_range_count() {
        let ports = |source_ports| DatapathConfig { source_ports, ..DatapathConfig::default() };
        assert_eq!(ports(2048..=32767).port_count(), 30720);
        assert_eq!(ports(1..=u16::MAX).port_count(), 65535);
        assert_eq!(ports(7..=7).port_count(), 1);
    }
}
