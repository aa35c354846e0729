//! The torture: six kinds of traffic at once, and a configuration that changes all the time. What
//! fails is counted, never timed.

mod counters;
mod events;
mod extent;
mod footprint;
mod live;
mod load;
mod names;
mod report;
mod resets;
mod scene;
mod world;

use std::{thread, time::Duration};

use anyhow::Result;

use self::{
    events::Events,
    footprint::{Footprint, Memory},
    load::{Held, Short, Steered},
    scene::Scene,
    world::World,
};
pub use self::{extent::Extent, report::Report};
use crate::lab::{interrupt::Interrupt, process::poll};

/// Before the first change: all connections that are to last are there then.
const BEGINNING: Duration = Duration::from_secs(1);

/// Tortures lb.
pub fn run(extent: Extent, interrupt: &Interrupt) -> Result<Report> {
    let (scene, mut world) = Scene::up()?;
    let (last, mut report) = (World::last(&world), Report::default());
    let (id, before) = (scene.daemon.id(), Footprint::of(scene.daemon.id())?);
    resets::watch(&scene.lab)?;
    let (steered, held) = (Steered::start(&scene.lab)?, Held::start(&scene.lab)?);
    let short = Short::start(&scene.lab)?;
    thread::sleep(BEGINNING);
    world.let_go();
    let mut events = Events::new(&scene, world, extent.seed);
    events.run(extent, interrupt, &mut report)?;
    events.settle(last)?;
    let memory = Memory::of(id, report.reloads)?;
    report.leak(events.memory.and_then(|before| memory.beyond(before)));
    report.reset(&resets::count(&scene.lab)?);
    report.add(short.stop()?);
    report.leak(live::disagreements(&scene.lab, &scene.daemon)?);
    report.add(held.stop()?);
    report.add(steered.stop()?);
    scene.daemon.when_quiet()?;
    events.ledger.take(&scene.daemon.printed_status()?)?;
    report.fall(events.ledger.backwards);
    report.leak(surplus(&before, id)?);
    scene.daemon.stop()?;
    Ok(report)
}

/// What the quiet daemon has more of in the end than `before`.
fn surplus(before: &Footprint, id: u32) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let gone = poll("what changes made is gone", || {
        found = Footprint::of(id)?.beyond(before);
        Ok(found.is_empty())
    });
    Ok(gone.map_or(found, |()| Vec::new()))
}
