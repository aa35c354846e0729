//! The kernel half: load, attach, maps, sweeper, counters. The only module that knows aya.

mod attach;
pub mod clock;
mod counters;
mod drift;
mod error;
mod expiry;
mod flow_table;
#[cfg(feature = "kernel-log")]
mod kernel_log;
mod load;
mod mapped;
mod object;
mod orphans;
mod sweeper;
mod sys;
mod table;
mod tables;
mod trial;

use std::{os::fd::AsRawFd, sync::Arc};

use aya::{
    Ebpf,
    maps::{MapData, SockMap},
};
use lb_common::abi::maps;

use self::{
    attach::{Attachment, ListenerLink},
    load::take_map,
    mapped::Mapped,
};
pub use self::{
    counters::{Counters, Evictions, Verdicts},
    error::DatapathError,
    flow_table::FlowTable,
    load::DatapathConfig,
    object::OBJECT,
    sweeper::{Population, Sweep, Sweeper},
    tables::Tables,
};
use crate::{
    load::Load,
    settings::{FlowTimeouts, XdpMode},
};

/// The loaded kernel program and the handles to its tables. The handles may be moved out to
/// whoever works with them; what is attached stays so until [`Kernel`] is dropped.
pub struct Datapath {
    pub kernel: Kernel,
    pub tables: Tables,
    pub counters: Counters,
    pub flows: Arc<FlowTable>,
    pub sweeper: Sweeper,
    /// The counts that kernel and proxy share.
    pub load: Load,
}

/// The programs, and where they are attached.
pub struct Kernel {
    ebpf: Ebpf,
    listeners: SockMap<MapData>,
    attached: Vec<Attachment>,
    listening: Option<ListenerLink>,
}

impl Datapath {
    /// Creates the maps and loads the programs. Nothing is attached yet.
    ///
    /// # Errors
    ///
    /// No privilege, no BPF in the kernel, an object of another build, or one that the verifier
    /// refuses.
    pub fn load(config: &DatapathConfig, timeouts: FlowTimeouts) -> Result<Self, DatapathError> {
        let seed = load::random_seed()?;
        let mut ebpf = load::load(config, seed)?;
        let load = Mapped::<u64>::map(take_map(&mut ebpf, maps::LOAD)?, maps::LOAD)?;
        let load = Load::shared(load);
        let flows = Arc::new(FlowTable::open(&mut ebpf, seed)?);
        let opened = take_map(&mut ebpf, maps::OPENED)?;
        let counters = Counters::open(
            take_map(&mut ebpf, maps::COUNTERS)?,
            counters::duplicate(&opened, maps::OPENED)?,
        )?;
        let tables = Tables::open(&mut ebpf, opened)?;
        Ok(Self {
            kernel: Kernel::new(ebpf)?,
            tables,
            counters,
            sweeper: Sweeper::new(flows.clone(), load.clone(), timeouts),
            flows,
            load,
        })
    }
}

impl Kernel {
    fn new(mut ebpf: Ebpf) -> Result<Self, DatapathError> {
        let listeners = take_map(&mut ebpf, maps::LISTENERS)?;
        let listeners = SockMap::try_from(listeners)
            .map_err(|_| DatapathError::MapKind { name: maps::LISTENERS })?;
        Ok(Self { ebpf, listeners, attached: Vec::new(), listening: None })
    }

    /// From here on the program sees every frame that arrives on `interface`.
    ///
    /// # Errors
    ///
    /// The interface does not exist, carries another XDP program, or its driver refuses.
    pub fn attach(&mut self, interface: &str, mode: XdpMode) -> Result<(), DatapathError> {
        let attachment = attach::attach_xdp(&mut self.ebpf, interface, mode)?;
        self.attached.push(attachment);
        Ok(())
    }

    /// The interfaces with the mode, `native` or `generic`, that each got.
    pub fn attached(&self) -> impl Iterator<Item = (&str, &'static str)> + '_ {
        let attached = self.attached.iter();
        attached.map(|attachment| (attachment.interface.as_str(), attachment.mode))
    }

    /// From here on connections to the proxy's addresses and ports reach the `SO_REUSEPORT` group
    /// of `listener`, in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// The socket does not listen, or the namespace takes no further program.
    pub fn attach_listener(&mut self, listener: &impl AsRawFd) -> Result<(), DatapathError> {
        let link = attach::attach_listener(&mut self.ebpf, &mut self.listeners, listener)?;
        self.listening = Some(link);
        Ok(())
    }

    /// Takes the program off every interface and the listeners out of the lookup.
    pub fn detach(&mut self) {
        self.attached.clear();
        self.listening = None;
    }
}
