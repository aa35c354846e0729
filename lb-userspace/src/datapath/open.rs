//! Opens the data path: a new one, or the one that an earlier daemon left.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use aya::Ebpf;
use lb_common::abi::maps;

use super::{
    bpf::{error::DatapathError, mapped_array::Mapped, programs::take_map},
    explain::Watcher,
    flows::{flow_table::FlowTable, lifetimes::Lifetimes, sweeper::Sweeper},
    maps::{
        config::DatapathConfig,
        counters::{self, Counters},
        kernel_tables::KernelTables,
    },
    persist::{
        adoption::{self, AdoptionPlan, MapFate},
        load_share,
        pins::Pins,
        seed,
    },
    program::{
        image::OBJECT,
        kernel::{Kernel, PinnedNames},
        load,
    },
};
use crate::{
    load::{GENERATIONS, Load},
    settings::FlowTimeouts,
};

/// The loaded kernel program and the handles to its tables. The handles may be moved out to their
/// users; programs stay attached until [`Kernel`] is dropped, and longer where they are pinned.
pub struct Datapath {
    pub kernel: Kernel,
    pub tables: KernelTables,
    pub counters: Counters,
    pub flows: Arc<FlowTable>,
    pub sweeper: Sweeper,
    /// The timeouts that the sweeper uses.
    pub lifetimes: Lifetimes,
    /// The connection counts, shared by kernel and proxy.
    pub load: Load,
    pub watcher: Arc<Watcher>,
    /// The kernel's ids of our maps. No other map gets one of them until the host restarts.
    pub maps: BTreeSet<u32>,
}

/// Which processes have connections of the proxy.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    /// This process's number, below [`GENERATIONS`].
    pub own: usize,
    /// The numbers of others that live.
    pub others: BTreeSet<usize>,
}

impl Datapath {
    /// Creates the maps and loads the programs. Nothing is attached yet, and all of it ends with
    /// the value.
    ///
    /// # Errors
    ///
    /// No privilege, no BPF in the kernel, an object of another build, or one that the verifier
    /// refuses.
    pub fn load(config: &DatapathConfig, timeouts: FlowTimeouts) -> Result<Self, DatapathError> {
        Self::load_object(OBJECT, seed::random()?, config, timeouts)
    }

    /// The same for another build of the object and with a known seed of the flow table, for
    /// reproducible runs.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load).
    pub fn load_object(
        elf: &[u8],
        seed: [u64; 2],
        config: &DatapathConfig,
        timeouts: FlowTimeouts,
    ) -> Result<Self, DatapathError> {
        let mut ebpf = load::load(elf, config, seed, &[])?;
        let load = Load::shared(Mapped::<u64>::map(take_map(&mut ebpf, maps::LOAD)?, maps::LOAD)?);
        Self::assemble(ebpf, seed, load, timeouts, None)
    }

    /// The same, but takes over what an earlier daemon left under `pins`. Its attachments stay as
    /// they are, with their own program, until [`Kernel::take_over`]; from then on everything
    /// outlives this process.
    ///
    /// The connection counts are those of the flows that are kept, and of the proxied connections
    /// of the generations that live.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load).
    pub fn adopt(
        config: &DatapathConfig,
        timeouts: FlowTimeouts,
        pins: Pins,
        generation: &Generation,
    ) -> Result<Self, DatapathError> {
        let mut plans = adoption::survey(OBJECT, &pins, config)?;
        let seed = seed::settle(&pins, &mut plans)?;
        adoption::announce(&plans, &pins);
        let kept = plans.iter().filter(|plan| plan.fate == MapFate::Kept);
        let kept: Vec<_> =
            kept.map(|plan| (plan.name.clone(), pins.maps().join(&plan.name))).collect();
        let mut ebpf = load::load(OBJECT, config, seed, &kept)?;
        adoption::copy_counts(&ebpf, &plans, &pins)?;
        let mut unnamed = adoption::unnamed(&ebpf, &plans)?;
        let numbers = adoption::numbers(&ebpf, &plans)?;
        seed::keep(seed, &mut unnamed)?;
        let words = Mapped::<u64>::map(take_map(&mut ebpf, maps::LOAD)?, maps::LOAD)?;
        let slots = (words.len(), generation.own);
        let permits = load_share::open(&pins, &plans, slots, &mut unnamed)?;
        let load = Load::counted(words, permits, generation.own);
        for stale in (0..GENERATIONS).filter(|it| !generation.others.contains(it)) {
            load.subtract_stale(stale);
        }
        let left = pins.xdp();
        let maps = plans.into_iter().map(|AdoptionPlan { name, .. }| name).collect();
        let names = PinnedNames { pins, left, unnamed, maps, named: Vec::new(), taken_over: false };
        Ok(Self { maps: numbers, ..Self::assemble(ebpf, seed, load, timeouts, Some(names))? })
    }

    fn assemble(
        mut ebpf: Ebpf,
        seed: [u64; 2],
        load: Load,
        timeouts: FlowTimeouts,
        names: Option<PinnedNames>,
    ) -> Result<Self, DatapathError> {
        let flows = Arc::new(FlowTable::open(&mut ebpf, seed)?);
        let opened = take_map(&mut ebpf, maps::OPENED)?;
        let exhausted = take_map(&mut ebpf, maps::EXHAUSTED)?;
        let counters = Counters::open(
            take_map(&mut ebpf, maps::COUNTERS)?,
            counters::duplicate(&opened, maps::OPENED)?,
            counters::duplicate(&exhausted, maps::EXHAUSTED)?,
        )?;
        let tables = KernelTables::open(&mut ebpf, opened, exhausted)?;
        let programs = Arc::new(Mutex::new(ebpf));
        let watcher = Arc::new(Watcher::open(&programs)?);
        let lifetimes = Lifetimes::new(timeouts);
        Ok(Self {
            kernel: Kernel::new(programs, names)?,
            watcher,
            tables,
            counters,
            sweeper: Sweeper::new(flows.clone(), load.clone(), lifetimes.clone()),
            lifetimes,
            flows,
            load,
            maps: BTreeSet::new(),
        })
    }
}
