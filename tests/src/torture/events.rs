//! What happens while the traffic flows: reloads, each of which changes something, and files with a
//! mistake, which change nothing.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    counters::Ledger,
    extent::Extent,
    footprint::Memory,
    report::Report,
    scene::Scene,
    world::{Change, World, spoiled},
};
use crate::{daemon::status::Status, dice::Dice, lab::interrupt::Interrupt};

/// Reloads after which memory is looked at first: what is allocated once is there then.
const WARM: usize = 100;
/// Of so many events one is a file with a mistake.
const MISTAKES: usize = 12;

pub(super) struct Events<'a> {
    scene: &'a Scene,
    world: World,
    dice: Dice,
    pub ledger: Ledger,
    /// Once warm.
    pub memory: Option<Memory>,
    made: BTreeMap<Change, usize>,
}

impl<'a> Events<'a> {
    pub(super) fn new(scene: &'a Scene, world: World, seed: u64) -> Self {
        let (dice, ledger) = (Dice::new(seed), Ledger::default());
        Self { scene, world, dice, ledger, memory: None, made: BTreeMap::new() }
    }

    /// All of them, in the pace that `extent` has.
    pub(super) fn run(
        &mut self,
        extent: Extent,
        interrupt: &Interrupt,
        report: &mut Report,
    ) -> Result<()> {
        let (started, whole) = (Instant::now(), Duration::from_secs(extent.seconds));
        let every = whole / u32::try_from(extent.reloads.max(1))?;
        while report.reloads < extent.reloads {
            interrupt.check()?;
            let due = every * u32::try_from(report.reloads)?;
            thread::sleep(due.saturating_sub(started.elapsed()));
            if self.dice.one_in(MISTAKES) {
                self.mistake(report)?;
            }
            self.change(report)?;
            self.ledger.take(&self.scene.daemon.printed_status()?)?;
            if report.reloads == WARM.min(extent.reloads / 2) {
                self.memory = Some(Memory::of(self.scene.daemon.id(), report.reloads)?);
            }
        }
        thread::sleep(whole.saturating_sub(started.elapsed()));
        eprintln!("torture: changes: {:?}", self.made);
        Ok(())
    }

    fn change(&mut self, report: &mut Report) -> Result<()> {
        let change = Change::any(&mut self.world, &mut self.dice);
        let (done, said) = self.scene.reload(&self.world.toml())?;
        report.reloads += 1;
        *self.made.entry(change).or_default() += 1;
        if !done || said.starts_with("nothing changes") {
            report.fail(format!("reload {}, {change:?}: {said}", report.reloads));
        }
        Ok(())
    }

    fn mistake(&mut self, report: &mut Report) -> Result<()> {
        let before = shape(&self.scene.daemon.status()?);
        let text = spoiled(&self.world.toml(), &mut self.dice);
        let (done, said) = self.scene.reload(&text)?;
        if done {
            report.fail(format!("a file with a mistake was taken: {said}"));
        }
        let after = shape(&self.scene.daemon.status()?);
        if before != after {
            report.fail(format!("a refused file changed {before:?} to {after:?}"));
        }
        Ok(())
    }

    /// Another configuration that must be taken.
    pub(super) fn settle(&mut self, world: World) -> Result<()> {
        self.world = world;
        let (done, said) = self.scene.reload(&self.world.toml())?;
        ensure!(done, "{said}");
        Ok(())
    }
}

/// What the configuration decides of a status.
fn shape(status: &Status) -> Vec<(String, Vec<(String, u16)>)> {
    let services = status.services.iter().filter(|service| !service.removed);
    let servers = services.map(|service| {
        let wanted = service.backends.iter().filter(|backend| !backend.removed);
        let wanted = wanted.map(|backend| (backend.address.clone(), backend.weight));
        (service.name.clone(), wanted.collect())
    });
    servers.collect()
}
