//! Loads the kernel object.

use std::path::PathBuf;

use aya::{Ebpf, EbpfLoader};
use lb_common::abi::{globals, programs};
use tracing::debug;

use super::image;
use crate::datapath::{
    bpf::{
        error::DatapathError,
        programs::{sk_lookup, xdp},
    },
    maps::config::DatapathConfig,
};

/// Opens the maps that are pinned at `kept` (name, path), creates the others and loads the
/// balancing programs; attaches nothing yet.
pub(crate) fn load(
    elf: &[u8],
    config: &DatapathConfig,
    seed: [u64; 2],
    kept: &[(String, PathBuf)],
) -> Result<Ebpf, DatapathError> {
    image::check_version(elf)?;
    raise_memlock();
    let words = config.globals();
    let mut loader = EbpfLoader::new();
    loader.override_global(globals::SEED, &seed, true);
    for (name, word) in &words {
        loader.override_global(name, word, true);
    }
    for (name, size) in config.sizes() {
        loader.map_max_entries(name, size);
    }
    for (name, path) in kept {
        loader.map_pin_path(name, path.as_path());
    }
    let mut ebpf = loader.load(elf).map_err(DatapathError::load)?;
    xdp(&mut ebpf)?.load().map_err(|error| DatapathError::program(programs::BALANCE, error))?;
    sk_lookup(&mut ebpf)?
        .load()
        .map_err(|error| DatapathError::program(programs::SK_LOOKUP, error))?;
    Ok(ebpf)
}

/// Raises RLIMIT_MEMLOCK: kernels before 5.11 count BPF memory against it. Without CAP_SYS_RESOURCE
/// it cannot be raised, and newer kernels do not need it.
pub(crate) fn raise_memlock() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `unlimited` is a complete rlimit that the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) } != 0 {
        let error = std::io::Error::last_os_error();
        debug!(%error, "cannot raise RLIMIT_MEMLOCK");
    }
}
