//! One sequence, step by step in both worlds.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::Result;
use lb_common::{
    abi::{counter, flow_state},
    pipeline::balance,
    tables::Part,
    testing::{Frame, Model, buffer::Buffer},
    verdict::Verdict,
};

use super::{
    kernel::{Kernel, Outcome},
    scene::Scene,
    step::{self, Step},
    world,
};
use crate::dice::Dice;

/// `enum xdp_action` in include/uapi/linux/bpf.h.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// In what the two worlds differ after a step.
#[derive(Clone, Debug)]
pub(super) struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.0)
    }
}

/// How often each verdict was given.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn note(&mut self, verdict: Verdict) {
        let name = match verdict {
            Verdict::Drop(reason) => reason.name().to_owned(),
            Verdict::Answer(reason) => format!("answer {}", reason.name()),
            Verdict::Steer { .. } => "steer".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        self.add(&name, 1);
    }

    fn add(&mut self, name: &str, count: u64) {
        *self.0.entry(name.to_owned()).or_default() += count;
    }

    pub(super) fn named(self) -> Vec<(String, u64)> {
        self.0.into_iter().collect()
    }
}

pub(super) struct Sequence {
    pub model: Model,
}

impl Sequence {
    /// Puts the seed's tables into both worlds.
    pub(super) fn begin(kernel: &mut Kernel, scene: &Scene, seed: u64) -> Result<Self> {
        let mut model = world::create(&mut Dice::new(seed));
        scene.surround(&mut model);
        kernel.begin(&model)?;
        Ok(Self { model })
    }

    pub(super) fn take(
        &mut self,
        kernel: &mut Kernel,
        step: &Step,
        tally: &mut Tally,
    ) -> Result<Option<Difference>> {
        match step {
            Step::Wait(time) => {
                self.model.now.add(*time);
                Ok(None)
            }
            Step::Change(command) => {
                step::apply(&mut self.model, command);
                kernel.datapath.tables.apply(command)?;
                Ok(None)
            }
            Step::Frame { bytes, random } => self.frame(kernel, bytes, *random, tally),
        }
    }

    fn frame(
        &mut self,
        kernel: &mut Kernel,
        bytes: &[u8],
        random: u64,
        tally: &mut Tally,
    ) -> Result<Option<Difference>> {
        self.model.random.set(random);
        let (model, mut buffer) = (&self.model, Buffer::new(bytes));
        let decided = catch_unwind(AssertUnwindSafe(|| balance(&mut buffer, model)));
        let theirs = kernel.frame(bytes, model.now.get(), random)?;
        let Ok(verdict) = decided else {
            return Ok(Some(Difference(format!("the model panics; the kernel: {theirs}"))));
        };
        tally.note(verdict);
        let ours = Outcome { action: self.action(verdict), frame: buffer.bytes().to_vec() };
        let slot = slot(verdict);
        model.counters[slot as usize].add(1);
        let counted = kernel.counter(slot)? == model.counters[slot as usize].get();
        let dropped = ours.action == XDP_DROP;
        if ours.action != theirs.action || !counted || !dropped && ours.frame != theirs.frame {
            let text =
                format!("model: {verdict:?}, {ours}\nkernel: {theirs}{}", counters(kernel, model)?);
            return Ok(Some(Difference(text)));
        }
        let unchanged = matches!(verdict, Verdict::Pass | Verdict::Proxy);
        if unchanged && ours.frame != bytes {
            return Ok(Some(Difference(format!("{verdict:?} changes the frame: {ours}"))));
        }
        let spoilt = if dropped { None } else { spoilt(bytes, &ours.frame, tally) };
        let differs = kernel.differs(model).or_else(|| miscounted(model)).or(spoilt);
        Ok(differs.map(|text| Difference(format!("{verdict:?}; {text}"))))
    }

    fn action(&self, verdict: Verdict) -> u32 {
        match verdict {
            Verdict::Pass | Verdict::Proxy => XDP_PASS,
            Verdict::Steer { ifindex, .. } if ifindex == self.model.ingress => XDP_TX,
            Verdict::Reply | Verdict::Answer(_) => XDP_TX,
            Verdict::Steer { .. } => XDP_REDIRECT,
            Verdict::Drop(_) => XDP_DROP,
        }
    }

    /// What is compared once, when all steps are done.
    pub(super) fn end(&self, kernel: &Kernel, tally: &mut Tally) -> Result<Option<Difference>> {
        let flows = [
            ("(half-open flows evicted)", counter::EVICTED_PENDING),
            ("(flows evicted)", counter::EVICTED),
            ("(found no room to be established)", counter::CROWDED),
            ("(went on after their end)", counter::REVIVED),
            ("(rerouted by connection id)", counter::REROUTED),
        ];
        for (name, slot) in flows {
            tally.add(name, self.model.counters[slot as usize].get());
        }
        tally.add("(established)", self.model.flows(Part::Established).len() as u64);
        Ok(kernel.differs_elsewhere(&self.model)?.map(Difference))
    }
}

/// What `act` counts in lb-ebpf.
const fn slot(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass => counter::PASS,
        Verdict::Proxy => counter::PROXY,
        Verdict::Steer { .. } => counter::STEER,
        Verdict::Reply => counter::REPLY,
        Verdict::Answer(reason) | Verdict::Drop(reason) => counter::drop(reason),
    }
}

/// Counts that are not those of the flows.
fn miscounted(model: &Model) -> Option<String> {
    let mut counts = vec![0; model.load.len()];
    for part in [Part::Established, Part::Pending] {
        for (slot, flow) in model.flows(part) {
            counts[flow.load as usize] += u64::from(slot.has(flow_state::COUNTED));
        }
    }
    let load: Vec<u64> = model.load.iter().map(lb_common::testing::model::Count::get).collect();
    (load != counts).then(|| format!("counts are {load:?}, flows {counts:?}"))
}

/// Whether a frame that came with right checksums leaves with wrong ones.
fn spoilt(came: &[u8], left: &[u8], tally: &mut Tally) -> Option<String> {
    let untagged = |bytes: &[u8]| {
        let mut frame = Frame(bytes.to_vec());
        while frame.0.len() > 18 && matches!(frame.0[12..14], [0x81, 0] | [0x88, 0xa8]) {
            frame.0.drain(12..16);
        }
        frame
    };
    let plain = untagged(came);
    // The library forgets the reserved bit of an IPv4 header, and takes a wrong sum for right.
    let reserved =
        plain.0[12..14] == [0x08, 0x00] && plain.0.get(20).is_some_and(|it| it & 0x80 != 0);
    if came == left || reserved || plain.verify().is_err() {
        return None;
    }
    tally.add("(checksums verified)", 1);
    let wrong = untagged(left).verify().err()?;
    Some(format!("leaves with a wrong {wrong}: {:?}", Frame(left.to_vec())))
}

fn counters(kernel: &Kernel, model: &Model) -> Result<String> {
    let mut text = String::new();
    for (slot, ours) in (0..).zip(&model.counters) {
        let theirs = kernel.counter(slot)?;
        if theirs != ours.get() {
            let reasons = lb_common::verdict::Reason::ALL.iter();
            let name = reasons.clone().find(|it| counter::drop(**it) == slot).map(|it| it.name());
            let name = name.map_or_else(|| format!("counter {slot}"), str::to_owned);
            text += &format!("\n{name}: {theirs} in the kernel, {} in the model", ours.get());
        }
    }
    Ok(text)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "action {}, frame ", self.action)?;
        self.frame.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
