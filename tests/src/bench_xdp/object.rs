//! The bench's object: the product's program, the floors, and tables filled for the cases.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, MapData, ProgramArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    abi::{
        Address, Backend, Bucket, FlowKey, Reach, Ring, Service, Vip, VipKey, WAYS, globals, maps,
        programs,
    },
    testing::{Frame, world},
};

use super::cases::Case;

const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;
/// Buckets for half-open flows: room for twice the flows of one measurement.
const PENDING_BUCKETS: u32 = 1 << 14;
/// Buckets for established flows: room for 2Mi.
const FLOW_BUCKETS: u32 = 1 << 18;
const ANSWER_BUCKETS: u32 = FLOW_BUCKETS;

#[derive(Clone, Copy, Debug)]
pub enum Program {
    Balance,
    FloorLookup,
    FloorTx,
}

impl Program {
    const ALL: [Self; 3] = [Self::Balance, Self::FloorLookup, Self::FloorTx];

    const fn name(self) -> &'static str {
        match self {
            Self::Balance => programs::BALANCE,
            Self::FloorLookup => "bench_floor_lookup",
            Self::FloorTx => "bench_floor_tx",
        }
    }
}

/// As lb-ebpf's `bench::Round`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Round {
    frame: [u8; 80],
    client: u64,
}

// SAFETY: #[repr(C)], bytes and an integer, no padding.
unsafe impl Pod for Round {}

pub struct Object {
    ebpf: Ebpf,
    measured: ProgramArray<MapData>,
    round: Array<MapData, Round>,
    flows: HashMap<MapData, FlowKey, Flow>,
    ports: Array<MapData, u32>,
}

impl Object {
    pub fn load() -> Result<Self> {
        let options = xtask::build_ebpf::Options { bench: true, ..Default::default() };
        let path = xtask::build_ebpf::build(options)?;
        let elf = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(maps::FLOWS, FLOW_BUCKETS * WAYS)
            .map_max_entries(maps::FLOW_SLOTS, FLOW_BUCKETS)
            .map_max_entries(maps::PENDING, PENDING_BUCKETS * WAYS)
            .map_max_entries(maps::PENDING_SLOTS, PENDING_BUCKETS)
            .map_max_entries(maps::ANSWERS, ANSWER_BUCKETS)
            .override_global(globals::FLOW_MASK, &(FLOW_BUCKETS - 1), true)
            .override_global(globals::PENDING_MASK, &(PENDING_BUCKETS - 1), true)
            .override_global(globals::ANSWER_MASK, &(ANSWER_BUCKETS - 1), true)
            // Enough for the flows of one measurement towards one backend.
            .override_global(globals::SOURCE_PORT_COUNT, &60_000_u32, true)
            .load(&elf)
            .context("loading the bench's object (this needs root)")?;
        for name in Program::ALL.map(Program::name).into_iter().chain(["bench_round"]) {
            xdp(&mut ebpf, name)?.load().with_context(|| format!("loading {name}"))?;
        }
        fill(&mut ebpf)?;
        Ok(Self {
            measured: ProgramArray::try_from(ebpf.take_map("MEASURED").context("MEASURED")?)?,
            round: Array::try_from(ebpf.take_map("ROUND").context("ROUND")?)?,
            flows: HashMap::try_from(ebpf.take_map(maps::FLOWS).context("FLOWS")?)?,
            ports: Array::try_from(ebpf.take_map(maps::PORTS).context("PORTS")?)?,
            ebpf,
        })
    }

    /// ns per packet of `program` on the case's frame.
    pub fn measure(&mut self, case: &Case, program: Program, packets: u32) -> Result<f64> {
        self.forget_flows()?;
        let balances = matches!(program, Program::Balance);
        self.call(Program::Balance)?;
        if let Some(opening) = &case.opening {
            self.run(opening, false, 1)?;
        }
        self.call(program)?;
        // New flows: no more than there are source ports, and only where it is flows that cost.
        let opens = case.opening.is_none() && balances;
        let packets = if opens { packets.min(50_000) } else { packets };
        if case.opening.is_none() && !balances {
            // The floor finds one known flow, as it does for the other cases.
            self.call(Program::Balance)?;
            self.run(&case.frame, false, 1)?;
            self.call(program)?;
        }
        let (action, ns) = self.run(&case.frame, opens, packets)?;
        let right =
            if balances { [XDP_REDIRECT, XDP_TX].contains(&action) } else { action == XDP_TX };
        ensure!(right, "{}: {program:?} answered {action}", case.name);
        Ok(ns)
    }

    fn call(&mut self, program: Program) -> Result<()> {
        let fd = xdp(&mut self.ebpf, program.name())?.fd()?.try_clone()?;
        self.measured.set(0, &fd, 0).with_context(|| format!("calling {program:?}"))
    }

    fn run(&mut self, frame: &Frame, opens: bool, repeat: u32) -> Result<(u32, f64)> {
        let mut head = [0; 80];
        head.copy_from_slice(&frame.0[..80]);
        let client = if opens { u64::from(u32::from_be_bytes([10, 0, 0, 1])) } else { 0 };
        self.round.set(0, Round { frame: head, client }, 0)?;
        let options =
            TestRunOptions { data_in: Some(&frame.0), repeat, ..TestRunOptions::default() };
        let result = xdp(&mut self.ebpf, "bench_round")?.test_run(options)?;
        Ok((result.return_value, result.duration.as_nanos() as f64))
    }

    fn forget_flows(&mut self) -> Result<()> {
        let keys: Vec<FlowKey> = self.flows.keys().collect::<Result<_, _>>()?;
        for key in keys {
            self.flows.remove(&key)?;
        }
        for load in 0..2 {
            self.ports.set(load, 0, 0)?;
        }
        Ok(())
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    Ok(program.try_into()?)
}

/// The tables of the verdicts' world, whose next hops are known.
fn fill(ebpf: &mut Ebpf) -> Result<()> {
    let model = world::model(lb::datapath::clock::now());
    let map = |ebpf: &mut Ebpf, name| ebpf.take_map(name).with_context(|| format!("no map {name}"));
    let mut vips: HashMap<_, VipKey, Vip> = map(ebpf, maps::VIPS)?.try_into()?;
    for (key, vip) in &model.vips {
        vips.insert(key, vip, 0)?;
    }
    let mut addresses: HashMap<_, Address, u32> = map(ebpf, maps::ADDRESSES)?.try_into()?;
    for address in &model.addresses {
        addresses.insert(address, 0, 0)?;
    }
    array::<Service>(map(ebpf, maps::SERVICES)?, &model.services)?;
    array::<u32>(map(ebpf, maps::RINGS)?, &model.rings)?;
    array::<Backend>(map(ebpf, maps::BACKENDS)?, &model.backends)?;
    array::<CachedHop>(map(ebpf, maps::HOPS)?, &model.hops.borrow())
}

fn array<T: Pod>(map: aya::maps::Map, values: &[T]) -> Result<()> {
    let mut array: Array<_, T> = map.try_into()?;
    for (index, value) in (0..).zip(values) {
        array.set(index, value, 0)?;
    }
    Ok(())
}
