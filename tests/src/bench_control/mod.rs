//! What a change costs the daemon among thousands of services: CPU time, and what is written to
//! the kernel's real tables.

mod fleet;
mod size;
mod sweeping;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use lb::{
    app::{IdLog, StateStore},
    control::{self, Desired, StableIds, UpdateContext},
    datapath::{Datapath, DatapathConfig, KernelTables},
    fleet::Fleet,
    service::FlowTimeouts,
    settings::{Encap, Geography},
    tables::{Capacity, Command},
};
use serde::Serialize;

pub use self::size::Size;
use self::{fleet::Setting, size::cpu_time};

/// One kind of change; medians.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub name: &'static str,
    pub cpu_ms: f64,
    /// Commands by their table.
    pub commands: BTreeMap<&'static str, usize>,
    /// Words of rings among what they write.
    pub ring_words: usize,
    /// By which the notes on whose the indices are have grown.
    pub noted_bytes: i64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub services: u32,
    pub backends: u32,
    pub cases: Vec<Figures>,
    pub sweep: sweeping::SweepFigures,
}

/// # Errors
///
/// No root, or no room for so many.
pub fn run(size: Size, rounds: u32) -> Result<Report> {
    let mut bench = Bench::new(size, rounds)?;
    let mut cases = vec![bench.measure("everything at the start", |_| {})?];
    type Change = fn(&mut Setting, &mut Fleet, u32);
    let changes: [(&'static str, Change); 7] = [
        ("a server is added to a service", Setting::add_server),
        ("a server fails", Setting::fail),
        ("a server drains", Setting::drain),
        ("a server is removed", Setting::remove_server),
        ("a service is added", Setting::add_service),
        ("a service is removed", Setting::remove_service),
        ("nothing changes", |_, _, _| {}),
    ];
    for (name, change) in changes {
        let samples: Result<Vec<_>> = (0..rounds)
            .map(|round| {
                let service = round * 997 % size.services;
                bench.measure(name, |bench| change(&mut bench.setting, &mut bench.fleet, service))
            })
            .collect();
        let mut samples = samples?;
        samples.sort_by(|a, b| a.cpu_ms.total_cmp(&b.cpu_ms));
        cases.push(samples.swap_remove(samples.len() / 2));
    }
    drop(bench);
    let sweep = sweeping::measure(size.flows, rounds)?;
    Ok(Report { services: size.services, backends: size.services * size.servers, cases, sweep })
}

/// The daemon's steering without its clock and its host.
struct Bench {
    setting: Setting,
    fleet: Fleet,
    desired: Desired,
    actual: control::ActualTables,
    tables: KernelTables,
    ledger: IdLog,
    directory: Directory,
    maglev_size: Option<u32>,
}

impl Bench {
    fn new(size: Size, rounds: u32) -> Result<Self> {
        // Those that come, and those that left and are not forgotten yet.
        let services = size.services + rounds;
        let backends = services * (size.servers + 1) + rounds;
        let largest = Arc::new(fleet::sample(size.servers + 1));
        let ring = control::required_capacity(&[largest], size.maglev_size).rings;
        let config = DatapathConfig {
            backends,
            services,
            vips: services,
            ring_slots: services * ring + 64 * ring,
            load_slots: backends,
            ..DatapathConfig::default()
        };
        let capacity = Capacity {
            services: config.services,
            backends: config.backends,
            loads: config.load_slots,
            rings: config.ring_slots,
        };
        let directory = Directory::create()?;
        let datapath = Datapath::load(&config, FlowTimeouts::default())
            .context("loading the kernel object (this needs root)")?;
        let mut setting = Setting::new(StableIds::new(capacity));
        let fleet = setting.fleet(size);
        Ok(Self {
            setting,
            fleet,
            desired: Desired::default(),
            actual: control::ActualTables::new(capacity.rings),
            ledger: IdLog::new(StateStore::new(directory.path(), BTreeSet::new())),
            directory,
            tables: datapath.tables,
            maglev_size: size.maglev_size,
        })
    }

    /// Makes a change and follows it, as the daemon does.
    fn measure(&mut self, name: &'static str, change: impl FnOnce(&mut Self)) -> Result<Figures> {
        change(self);
        let noted = self.directory.bytes()?;
        let began = cpu_time()?;
        let mut commands = BTreeMap::new();
        let mut ring_words = 0;
        let encap = Encap {
            source_v4: "172.16.0.0/16".parse()?,
            source_v6: "100::/64".parse()?,
            gue_port: lb_common::abi::GUE_PORT,
        };
        let circumstances = UpdateContext {
            encap: &encap,
            geography: &Geography::default(),
            sources: &self.setting.sources,
            sources_revision: self.setting.revision,
            maglev_size: self.maglev_size,
            settings_revision: 0,
            silent: false,
            now: std::time::Instant::now(),
        };
        let slots = &mut self.setting.slots;
        self.desired.update(&self.fleet, &circumstances, slots)?;
        self.desired.retire(circumstances.now, |_, _, _| false, slots);
        loop {
            let plan = control::plan(&self.desired, &self.actual)?;
            self.ledger.note(slots);
            for command in &plan.commands {
                self.tables.apply(command)?;
                self.actual.apply(command);
                *commands.entry(table(command)).or_default() += 1;
                if let Command::WriteRing { words, .. } = command {
                    ring_words += words.len();
                }
            }
            let more = self.desired.settle(plan);
            slots.settle(circumstances.now, |_| false, |_, _| false);
            if !more {
                break;
            }
        }
        let cpu_ms = (cpu_time()? - began).as_secs_f64() * 1000.0;
        let noted_bytes = self.directory.bytes()? - noted;
        Ok(Figures { name, cpu_ms, commands, ring_words, noted_bytes })
    }
}

/// The state directory. Goes when dropped.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("lb-bench-control-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// In all files.
    fn bytes(&self) -> Result<i64> {
        let lengths = fs::read_dir(&self.0)?.map(|entry| Ok(entry?.metadata()?.len() as i64));
        lengths.sum()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn table(command: &Command) -> &'static str {
    match command {
        Command::SetBackend { .. } | Command::ClearBackend { .. } => "backends",
        Command::SetStatus { .. } => "statuses",
        Command::WriteRing { .. } => "rings",
        Command::SetRing { .. } => "current_rings",
        Command::SetService { .. } => "services",
        Command::SetVip(..) | Command::RemoveVip(_) => "vips",
        Command::SetAddress(..) | Command::RemoveAddress(_) => "addresses",
        Command::SetRange(..) | Command::RemoveRange(_) => "ranges",
        Command::SetQuicId(..) | Command::RemoveQuicId(_) => "connection ids",
        Command::SetAccess(..) | Command::RemoveAccess(_) => "lists",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} services, {} backends; medians\n", self.services, self.backends)?;
        writeln!(f, "{:32} {:>10}  written", "change", "CPU ms")?;
        for Figures { name, cpu_ms, commands, ring_words, noted_bytes } in &self.cases {
            let tables = commands.iter().map(|(table, count)| format!("{table} {count}"));
            let tables = tables.collect::<Vec<_>>().join(", ");
            writeln!(
                f,
                "{name:32} {cpu_ms:10.2}  {tables} ({ring_words} words of rings; {noted_bytes} bytes of notes)"
            )?;
        }
        write!(f, "\n{}", self.sweep)
    }
}
