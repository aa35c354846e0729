//! `lb detach`: removes what outlives the daemon.

use std::path::Path;

use anyhow::Context as _;

use crate::app::{
    process::privilege,
    state::{generations, id_log, last_good, store},
};
use crate::{
    datapath::{Pins, RemovedPins},
    host::{Host, UndoneChanges},
};

/// What was removed.
#[derive(Debug, Default)]
pub struct Detached {
    pub datapath: RemovedPins,
    pub host: UndoneChanges,
}

/// Removes the data path under `pin_dir`, and undoes what `state_dir` records as changed on the
/// host. Blocks.
///
/// # Errors
///
/// A daemon runs, which must be stopped first, or the kernel refuses. What was done until then
/// stays done, and another call continues.
pub fn detach(pin_dir: &Path, state_dir: &Path) -> anyhow::Result<Detached> {
    privilege::check("lb detach")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let pins = pin_dir.exists().then(|| Pins::open(pin_dir)).transpose();
        let pins = pins.context("cannot detach")?;
        let mut host = Host::open(state_dir).await.context("cannot detach")?;
        let datapath = pins.map(Pins::remove).transpose()?.unwrap_or_default();
        store::remove(state_dir)?;
        id_log::remove(state_dir)?;
        generations::remove(state_dir)?;
        last_good::remove(state_dir)?;
        let interfaces: Vec<_> = datapath.interfaces.iter().map(|(name, _)| name).collect();
        host.suspect_forwarding(&interfaces)?;
        let host = host.close().await.context("cannot undo all that was changed")?;
        Ok(Detached { datapath, host })
    })
}
