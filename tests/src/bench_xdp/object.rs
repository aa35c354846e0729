//! The bench's object: the product's program, the floors, and tables filled for the cases.

use std::{cell::UnsafeCell, fs};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, MapData, ProgramArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb::datapath::{FlowTable, clock};
use lb_common::{
    abi::{
        Address, Backend, FlowKey, Reach, Ring, RingWords, Service, Vip, VipKey, WAYS, flow_state,
        globals, maps, programs,
    },
    parse::{Headers, Kind, parse},
    tables::{Part, Tables as _},
    testing::{Frame, buffer::Buffer, world},
};

use super::{
    cases::{Case, Known},
    others::{self, Others},
};

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;
/// Buckets for half-open flows: room for twice the flows of one measurement.
const PENDING_BUCKETS: u32 = 1 << 14;
/// Buckets for established flows: room for 2Mi.
const FLOW_BUCKETS: u32 = 1 << 18;
/// As many as the daemon would make.
const ANSWER_BUCKETS: u32 = 1 << 19;
/// Any will do.
const SEED: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

#[derive(Clone, Copy, Debug)]
pub(super) enum Program {
    Balance,
    FloorLookup,
    FloorTx,
}

impl Program {
    pub(super) const ALL: [Self; 3] = [Self::Balance, Self::FloorLookup, Self::FloorTx];

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
    first: u32,
    sources: u32,
    turn: u32,
    length: u32,
    tunnel: u32,
    pad: u32,
}

// SAFETY: #[repr(C)], bytes and integers, no implicit padding.
unsafe impl Pod for Round {}

pub(super) struct Object {
    ebpf: Ebpf,
    measured: ProgramArray<MapData>,
    round: Array<MapData, Round>,
    floor: HashMap<MapData, FlowKey, [u64; 12]>,
    ports: Array<MapData, u32>,
    flows: FlowTable,
    others: Others,
}

impl Object {
    pub(super) fn load() -> Result<Self> {
        let options = xtask::build_ebpf::Options { bench: true, ..Default::default() };
        let path = xtask::build_ebpf::build(options)?;
        let elf = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(maps::FLOWS, FLOW_BUCKETS * WAYS)
            .map_max_entries(maps::FLOW_SLOTS, FLOW_BUCKETS)
            .map_max_entries(maps::PENDING, PENDING_BUCKETS * WAYS)
            .map_max_entries(maps::PENDING_SLOTS, PENDING_BUCKETS)
            .map_max_entries(maps::ANSWERS, ANSWER_BUCKETS)
            .map_max_entries(maps::VIPS, others::ROOM)
            .map_max_entries(maps::SERVICES, others::ROOM)
            .map_max_entries(maps::CURRENT_RINGS, others::ROOM)
            .map_max_entries(maps::RINGS, others::ROOM)
            .map_max_entries(maps::BACKENDS, others::ROOM)
            .map_max_entries(maps::REACH, others::ROOM)
            .map_max_entries(maps::OPENED, others::ROOM)
            .override_global(globals::FLOW_MASK, &(FLOW_BUCKETS - 1), true)
            .override_global(globals::PENDING_MASK, &(PENDING_BUCKETS - 1), true)
            .override_global(globals::ANSWER_MASK, &(ANSWER_BUCKETS - 1), true)
            .override_global(globals::SEED, &SEED, true)
            // Enough for the flows of one measurement towards one backend.
            .override_global(globals::SOURCE_PORT_COUNT, &60_000_u32, true)
            .load(&elf)
            .context("loading the bench's object (this needs root)")?;
        for name in Program::ALL.map(Program::name).into_iter().chain(["bench_round"]) {
            xdp(&mut ebpf, name)?.load().with_context(|| format!("loading {name}"))?;
        }
        let vips = fill(&mut ebpf)?;
        Ok(Self {
            others: Others::of(vips),
            measured: ProgramArray::try_from(ebpf.take_map("MEASURED").context("MEASURED")?)?,
            round: Array::try_from(ebpf.take_map("ROUND").context("ROUND")?)?,
            floor: HashMap::try_from(ebpf.take_map("FLOOR").context("FLOOR")?)?,
            ports: Array::try_from(ebpf.take_map(maps::PORTS).context("PORTS")?)?,
            flows: FlowTable::open(&mut ebpf, SEED)?,
            ebpf,
        })
    }

    /// Gives the floor the flows that the case's frames are of, and the balancer as many services.
    pub(super) fn know(&mut self, case: &Case) -> Result<()> {
        self.others.are(case.others)?;
        for key in self.floor.keys().collect::<Result<Vec<FlowKey>, _>>()? {
            self.floor.remove(&key)?;
        }
        let mut keys: Vec<_> = match &case.known {
            Some(known) => known.keys().collect(),
            // One, which none of the frames is of: the floor looks for flows that are not there
            // yet, too.
            None => vec![key_of(case)],
        };
        // In no order: in that of the frames, a new map's entries would lie one behind the other,
        // and be in the cache before they are asked for. No real traffic comes as its flows were
        // opened.
        keys.sort_unstable_by_key(FlowKey::hash);
        Ok(keys.into_iter().try_for_each(|key| self.floor.insert(key, [0; 12], 0))?)
    }

    /// ns per packet of `program` on the case's frames: from the `first` flow on, one after the
    /// other.
    pub(super) fn measure(
        &mut self,
        case: &Case,
        program: Program,
        packets: u32,
        first: u32,
    ) -> Result<f64> {
        self.call(program)?;
        let balances = matches!(program, Program::Balance);
        let opens = balances && case.opening.is_some() || case.known.is_none();
        // No more new flows than there are source ports.
        let packets = if opens { packets.min(50_000) } else { packets };
        if balances {
            self.start_afresh(case.known.as_ref())?;
        }
        let sources = match &case.known {
            _ if opens => u32::MAX,
            Some(Known { count: count @ 2.., .. }) => *count,
            _ => 0,
        };
        let turn = first.checked_rem(sources).unwrap_or(0);
        let frame = case.opening.as_ref().filter(|_| balances).unwrap_or(&case.frame);
        let (action, ns) = self.run(frame, case.is_tunnel, [sources, turn], packets)?;
        let right: &[u32] = match program {
            Program::Balance => &[XDP_REDIRECT, XDP_TX],
            Program::FloorLookup if case.known.is_none() => &[XDP_PASS],
            Program::FloorLookup | Program::FloorTx => &[XDP_TX],
        };
        ensure!(right.contains(&action), "{}: {program:?} answered {action}", case.name);
        Ok(ns)
    }

    fn call(&mut self, program: Program) -> Result<()> {
        let fd = xdp(&mut self.ebpf, program.name())?.fd()?.try_clone()?;
        self.measured.set(0, &fd, 0).with_context(|| format!("calling {program:?}"))
    }

    fn run(
        &mut self,
        Frame(frame): &Frame,
        is_tunnel: bool,
        [sources, turn]: [u32; 2],
        repeat: u32,
    ) -> Result<(u32, f64)> {
        let mut head = [0; 80];
        head.copy_from_slice(&frame[..80]);
        let first = u32::from_be_bytes([frame[26], frame[27], frame[28], frame[29]]);
        let length = frame.len() as u32;
        let tunnel = u32::from(is_tunnel);
        let round = Round { frame: head, first, sources, turn, length, tunnel, pad: 0 };
        self.round.set(0, round, 0)?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = xdp(&mut self.ebpf, "bench_round")?.test_run(options)?;
        Ok((result.return_value, result.duration.as_nanos() as f64))
    }

    /// The known flows and no others, all of them alive a moment ago.
    fn start_afresh(&mut self, known: Option<&Known>) -> Result<()> {
        self.flows.clear();
        for load in 0..2 {
            self.ports.set(load, 0, 0)?;
        }
        let Some(known) = known else { return Ok(()) };
        let (now, state) = (clock::now(), flow_state::CONFIRMED | flow_state::COUNTED);
        let mut entered = 0;
        for flow in known.flows(now) {
            // Where a bucket is full, its flows stay among the half-open ones.
            let parts = [Part::Established, Part::Pending].into_iter();
            let mut numbers = parts.filter_map(|part| self.flows.enter(part, state, &flow, now));
            entered += u32::from(numbers.next().is_some());
        }
        ensure!(entered > known.count / 1000 * 999, "{entered} of {} flows", known.count);
        Ok(())
    }
}

/// The key of the one frame of a case without known flows.
fn key_of(case: &Case) -> FlowKey {
    let (mut key, mut headers) = (FlowKey::unread(), Headers::unread());
    let parsed = parse(&Buffer::new(&case.frame.0), &mut key, &mut headers);
    assert_eq!(parsed, Ok(Kind::Segment), "{}", case.name);
    key
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    Ok(program.try_into()?)
}

/// The tables of the verdicts' world, whose next hops are known.
fn fill(ebpf: &mut Ebpf) -> Result<HashMap<MapData, VipKey, Vip>> {
    let model = world::model(clock::now());
    let map = |ebpf: &mut Ebpf, name| ebpf.take_map(name).with_context(|| format!("no map {name}"));
    let mut vips: HashMap<_, VipKey, Vip> = map(ebpf, maps::VIPS)?.try_into()?;
    for (key, vip) in &model.vips {
        vips.insert(key, vip, 0)?;
    }
    let flags = |address| model.address(address).expect("one of the model's");
    let mut addresses: HashMap<_, Address, u32> = map(ebpf, maps::ADDRESSES)?.try_into()?;
    for address in model.addresses.keys() {
        addresses.insert(address, flags(address), 0)?;
    }
    array::<Service>(map(ebpf, maps::SERVICES)?, &model.services)?;
    array::<Ring>(map(ebpf, maps::CURRENT_RINGS)?, &model.current_rings)?;
    let pairs = model.rings.chunks(2).map(|words| [words[0], words.get(1).copied().unwrap_or(0)]);
    array::<RingWords>(map(ebpf, maps::RINGS)?, &pairs.collect::<Vec<_>>())?;
    array::<Backend>(map(ebpf, maps::BACKENDS)?, &model.backends)?;
    let reach: Vec<Reach> = model.reach.into_iter().map(UnsafeCell::into_inner).collect();
    array::<Reach>(map(ebpf, maps::REACH)?, &reach)?;
    Ok(vips)
}

fn array<T: Pod>(map: Map, values: &[T]) -> Result<()> {
    let mut array: Array<_, T> = map.try_into()?;
    for (index, value) in (0..).zip(values) {
        array.set(index, value, 0)?;
    }
    Ok(())
}
