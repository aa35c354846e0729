//! The loaded object, its tables put as a model's are, and compared with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    fs,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use lb::{
    datapath::{Datapath, DatapathConfig},
    load::LoadSlot,
    settings::FlowTimeouts,
    tables::Command,
};
use lb_common::{
    abi::{Backend, Flow, FragmentKey, Fragmented, Meter, Reach, Slot, WAYS, counter, maps},
    parsed::Scratch,
    source_tables::Sources as _,
    tables::{Part, Tables as _},
    testing::Model,
};

use super::{
    scene::Scene,
    world::{self, BUCKETS, LOADS, MEMBERS, SERVICES},
};
use crate::kernel::{map_bytes, mirror};

/// Backends of all services.
const BACKENDS: u32 = SERVICES * MEMBERS as u32;

/// As lb-ebpf's `pinned::Pinned`.
type Pinned = [u64; 2];
type Bytes = [u8; size_of::<Scratch>()];

pub(super) struct Kernel {
    pub datapath: Datapath,
    ingress: u32,
    cpus: usize,
    pinned: Array<MapData, Pinned>,
    counters: PerCpuArray<MapData, u64>,
    opened: PerCpuArray<MapData, u64>,
    exhausted: PerCpuArray<MapData, u64>,
    turns: PerCpuArray<MapData, u32>,
    scratch: PerCpuArray<MapData, Bytes>,
    /// Both parts' entries.
    flows: [Array<MapData, Flow>; 2],
    ports: Array<MapData, u32>,
    reach: Array<MapData, Reach>,
    meters: Array<MapData, Meter>,
    fragment_ids: Array<MapData, u32>,
    stretches: Array<MapData, u32>,
    sources: HashMap<MapData, [u64; 3], u64>,
    known: HashMap<MapData, [u64; 2], u64>,
    affinity: HashMap<MapData, [u64; 3], [u64; 2]>,
    fragments: HashMap<MapData, FragmentKey, Fragmented>,
    /// What the last sequence had.
    filled: Vec<Command>,
}

/// What became of a frame.
pub(super) struct Outcome {
    pub action: u32,
    pub frame: Vec<u8>,
}

fn config() -> DatapathConfig {
    let flows = BUCKETS * WAYS / 2;
    DatapathConfig {
        max_flows: flows,
        max_half_open: flows,
        source_ports: world::SOURCE_PORTS,
        backends: BACKENDS,
        services: SERVICES,
        vips: 256,
        ring_slots: SERVICES * world::RING_WORDS,
        load_slots: LOADS,
        ..DatapathConfig::default()
    }
}

impl Kernel {
    /// To be called in the scene's network, on the CPU where all frames are to run.
    pub(super) fn load(scene: &Scene) -> Result<Self> {
        let options = xtask::build_ebpf::Options { fuzz: true, ..Default::default() };
        let elf = fs::read(xtask::build_ebpf::build(options)?)?;
        // Time is the fuzzer's.
        let ever = Duration::from_secs(1 << 32);
        let timeouts = FlowTimeouts {
            half_open: ever,
            established: ever,
            closing: ever,
            closed: ever,
            reset: ever,
            udp_unanswered: ever,
            udp_answered: ever,
            udp: ever,
        };
        let others = map_bytes::ids()?;
        let seed = Model::default().seed();
        let mut datapath = Datapath::load_object(&elf, seed, &config(), timeouts)?;
        for (device, parent, tags) in &scene.vlans {
            datapath.tables.set_vlan(*device, *parent, *tags)?;
        }
        let maps = Maps::opened_since(&others)?;
        Ok(Self {
            ingress: scene.up,
            cpus: nr_cpus().map_err(|(_, error)| error)?,
            pinned: maps.array("PINNED")?,
            counters: maps.per_cpu(maps::COUNTERS)?,
            opened: maps.per_cpu(maps::OPENED)?,
            exhausted: maps.per_cpu(maps::EXHAUSTED)?,
            turns: maps.per_cpu(maps::TURNS)?,
            scratch: maps.per_cpu("DESK")?,
            flows: [maps.array(maps::FLOWS)?, maps.array(maps::PENDING)?],
            ports: maps.array(maps::PORTS)?,
            reach: maps.array(maps::REACH)?,
            meters: maps.array(maps::METERS)?,
            fragment_ids: maps.array(maps::FRAGMENT_IDS)?,
            stretches: maps.array(maps::STRETCHES)?,
            sources: maps.hash(maps::SOURCES)?,
            known: maps.hash(maps::KNOWN)?,
            affinity: maps.hash(maps::AFFINITY)?,
            fragments: maps.hash(maps::FRAGMENTS)?,
            filled: Vec::new(),
            datapath,
        })
    }

    /// Makes all tables those of `model`, before its first frame.
    pub(super) fn begin(&mut self, model: &Model) -> Result<()> {
        self.empty()?;
        self.datapath.tables.set_source_pool(&mirror::source_pool(model))?;
        for (id, backend) in (0..).zip(&model.backends) {
            let (backend, status) = (*backend, model.reach(id).context("one each")?.status());
            self.datapath.tables.apply(&Command::SetBackend { id, backend })?;
            self.reach.set(id, Reach { status, ..Reach::default() }, 0)?;
        }
        self.filled = mirror::commands(model);
        for command in &self.filled {
            self.datapath.tables.apply(command)?;
        }
        Ok(())
    }

    /// All that packets, and the sequence before, left.
    fn empty(&mut self) -> Result<()> {
        for command in self.filled.drain(..).rev() {
            if let Some(undo) = undo(&command) {
                self.datapath.tables.apply(&undo)?;
            }
        }
        self.datapath.flows.clear();
        for part in &mut self.flows {
            (0..part.len()).try_for_each(|number| part.set(number, Flow::default(), 0))?;
        }
        for id in 0..BACKENDS {
            let backend = Backend::default();
            self.datapath.tables.apply(&Command::SetBackend { id, backend })?;
            self.reach.set(id, Reach::default(), 0)?;
            zero(&mut self.opened, id, 0, self.cpus)?;
            zero(&mut self.exhausted, id, 0, self.cpus)?;
        }
        for slot in 0..LOADS {
            let load = &self.datapath.load;
            load.leave(LoadSlot(slot), load.count(LoadSlot(slot)));
            self.ports.set(slot, 0, 0)?;
        }
        for service in 0..SERVICES {
            zero(&mut self.turns, service, 0, self.cpus)?;
            self.meters.set(service, Meter::default(), 0)?;
        }
        for counter in 0..counter::LENGTH {
            zero(&mut self.counters, counter, 0, self.cpus)?;
        }
        zero(&mut self.scratch, 0, [0; size_of::<Scratch>()], self.cpus)?;
        self.fragment_ids.set(0, 0, 0)?;
        self.stretches.set(0, 0, 0)?;
        clear(&mut self.sources)?;
        clear(&mut self.known)?;
        clear(&mut self.affinity)?;
        clear(&mut self.fragments)
    }

    /// Runs the program over a frame that arrives at `now`.
    pub(super) fn frame(&mut self, bytes: &[u8], now: u64, random: u64) -> Result<Outcome> {
        self.pinned.set(0, [now, random], 0)?;
        let trial = self.datapath.kernel.test_run(bytes, self.ingress)?;
        Ok(Outcome { action: trial.action, frame: trial.frame })
    }

    /// What the program counted under one of [`counter`].
    pub(super) fn counter(&self, index: u32) -> Result<u64> {
        sum(&self.counters, index)
    }

    /// Where the two differ in what every packet may change.
    pub(super) fn differs(&self, model: &Model) -> Option<String> {
        for part in [Part::Established, Part::Pending] {
            let theirs = self.datapath.flows.iter().filter(|entry| entry.0 == part);
            let theirs = theirs.map(|(_, slot, flow)| (slot, flow));
            let (theirs, ours): (Vec<_>, Vec<_>) = (theirs.collect(), model.flows(part));
            if theirs != ours {
                return Some(format!("{part:?} flows:\n{}", beside(&theirs, &ours)));
            }
        }
        let (theirs, ours) = (self.datapath.flows.answers(), model.answers());
        if theirs != ours {
            return Some(format!("{theirs} answers in the kernel, {ours} in the model"));
        }
        (0..LOADS).find_map(|slot| {
            let theirs = self.datapath.load.count(LoadSlot(slot));
            let ours = model.load[slot as usize].get();
            (theirs != ours)
                .then(|| format!("load {slot}: {theirs} in the kernel, {ours} in the model"))
        })
    }

    /// Where they differ in all else. `None`: nowhere.
    pub(super) fn differs_elsewhere(&self, model: &Model) -> Result<Option<String>> {
        let mut pairs = Vec::new();
        let mut compare = |name: &str, place: u32, theirs: String, ours: String| {
            if theirs != ours {
                pairs.push(format!("{name}[{place}]: kernel {theirs}, model {ours}"));
            }
        };
        for (slot, ours) in (0..).zip(&model.counters) {
            compare("COUNTERS", slot, self.counter(slot)?.to_string(), ours.get().to_string());
        }
        for (id, ours) in (0..).zip(&model.opened) {
            compare("OPENED", id, sum(&self.opened, id)?.to_string(), ours.get().to_string());
        }
        let exhausted = (0..BACKENDS).map(|id| sum(&self.exhausted, id)).sum::<Result<u64>>()?;
        compare("EXHAUSTED", 0, exhausted.to_string(), model.exhausted.get().to_string());
        for (slot, ours) in (0..).zip(&model.ports) {
            let ours = ours.get() as u32;
            compare("PORTS", slot, self.ports.get(&slot, 0)?.to_string(), ours.to_string());
        }
        for id in 0..model.backends.len() as u32 {
            let ours = model.reach(id).context("one each")?;
            let ours = Reach { hop: ours.hop(), at: ours.at(), status: ours.status(), pad: 0 };
            compare("REACH", id, format!("{:?}", self.reach.get(&id, 0)?), format!("{ours:?}"));
        }
        for service in 0..SERVICES {
            let ours = model.meter(service).context("one each")?;
            let [due, window, attacked] = [ours.due(), ours.window(), ours.attacked()]
                .map(lb_common::map_values::WordRef::load);
            let ours = Meter { due, window, attacked };
            let theirs = self.meters.get(&service, 0)?;
            compare("METERS", service, format!("{theirs:?}"), format!("{ours:?}"));
        }
        let fragments = model.fragmented.borrow();
        // SAFETY: no packet is under way.
        let fragments = fragments.iter().map(|(key, whole)| (*key, unsafe { *whole.get() }));
        compare("FRAGMENTS", 0, entries(&self.fragments)?, sorted(fragments));
        let due = model.crowd.due().into_iter().map(|(key, due)| {
            let [first, second] = key.address.words();
            ([first, second, u64::from(key.service)], due)
        });
        compare("SOURCES", 0, entries(&self.sources)?, sorted(due));
        let known = model.crowd.known().into_iter().map(|(key, at)| (key.words(), at));
        compare("KNOWN", 0, entries(&self.known)?, sorted(known));
        let kept = model.affinity.lock().expect("no panic");
        let kept = kept.iter().map(|(key, value)| {
            let [first, second] = key.source.words();
            let places = u64::from(value.position) << 32 | u64::from(value.backend);
            ([first, second, key.service], [value.at, places])
        });
        compare("AFFINITY", 0, entries(&self.affinity)?, sorted(kept));
        Ok((!pairs.is_empty()).then(|| pairs.join("\n")))
    }
}

/// What takes a command's entry out again. `None`: the next sequence writes over it.
fn undo(command: &Command) -> Option<Command> {
    Some(match *command {
        Command::SetVip(key, _) => Command::RemoveVip(key),
        Command::SetRange(key, _) => Command::RemoveRange(key),
        Command::SetQuicId(key, _) => Command::RemoveQuicId(key),
        Command::SetAddress(address, _) => Command::RemoveAddress(address),
        Command::SetAccess(prefix, _) => Command::RemoveAccess(prefix),
        _ => return None,
    })
}

fn beside(theirs: &[(Slot, Flow)], ours: &[(Slot, Flow)]) -> String {
    let only = |name: &str, these: &[(Slot, Flow)], those: &[(Slot, Flow)]| {
        let these = these.iter().filter(|it| !those.contains(it));
        these.map(|(slot, flow)| format!("  {name} {slot:x?} {flow:?}\n")).collect::<String>()
    };
    only("kernel", theirs, ours) + &only("model ", ours, theirs)
}

fn sum<T: Pod + Into<u64>>(map: &PerCpuArray<MapData, T>, index: u32) -> Result<u64> {
    Ok(map.get(&index, 0)?.iter().copied().map(Into::into).sum())
}

fn zero<T: Pod>(map: &mut PerCpuArray<MapData, T>, index: u32, zero: T, cpus: usize) -> Result<()> {
    Ok(map.set(index, PerCpuValues::try_from(vec![zero; cpus])?, 0)?)
}

fn clear<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>) -> Result<()> {
    for key in map.keys().collect::<Result<Vec<_>, _>>()? {
        map.remove(&key)?;
    }
    Ok(())
}

fn entries<K: Pod + Debug, V: Pod + Debug>(map: &HashMap<MapData, K, V>) -> Result<String> {
    Ok(sorted(map.iter().collect::<Result<Vec<_>, _>>()?.into_iter()))
}

fn sorted(entries: impl Iterator<Item = impl Debug>) -> String {
    let lines: BTreeSet<String> = entries.map(|entry| format!("{entry:x?}")).collect();
    format!("{lines:?}")
}

/// The object's maps by their names.
struct Maps(BTreeMap<String, u32>);

impl Maps {
    fn opened_since(others: &[u32]) -> Result<Self> {
        let ids = map_bytes::ids()?;
        let new = ids.into_iter().filter(|id| !others.contains(id));
        let named = new.map(|id| {
            let info = MapData::from_id(id)?.info()?;
            Ok((info.name_as_str().context("a map's name")?.to_owned(), id))
        });
        Ok(Self(named.collect::<Result<_>>()?))
    }

    fn open(&self, name: &str) -> Result<MapData> {
        let id = self.0.get(name).with_context(|| format!("the object has no map {name}"))?;
        Ok(MapData::from_id(*id)?)
    }

    fn array<T: Pod>(&self, name: &str) -> Result<Array<MapData, T>> {
        Ok(Array::try_from(Map::Array(self.open(name)?))?)
    }

    fn per_cpu<T: Pod>(&self, name: &str) -> Result<PerCpuArray<MapData, T>> {
        Ok(PerCpuArray::try_from(Map::PerCpuArray(self.open(name)?))?)
    }

    fn hash<K: Pod, V: Pod>(&self, name: &str) -> Result<HashMap<MapData, K, V>> {
        let map = self.open(name)?;
        ensure!(map.info()?.key_size() as usize == size_of::<K>(), "{name} has other keys");
        Ok(HashMap::try_from(Map::LruHashMap(map))?)
    }
}
