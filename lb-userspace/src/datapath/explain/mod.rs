//! Shows the kernel program's decisions: for one packet without side effects, or for packets that
//! pass. The two programs for this are loaded on demand, because the verifier takes seconds for
//! them.

mod events;
mod frame;

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, PerCpuValues, RingBuf},
    programs::{ProgramFd, Xdp},
    util::nr_cpus,
};
use lb_common::abi::{Decision, TraceFilter, maps, programs};

use super::bpf::{
    error::DatapathError,
    ifindex,
    programs::{Programs, lock, take_map},
    test_run,
};

pub use self::{
    events::Events,
    frame::{ForwardedFrame, ProbeFrame, echo},
};

/// What the loaded pipeline would do with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    pub decision: Decision,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

/// Runs the explaining and the tracing program. Calls block, for seconds if they load one.
pub struct Watcher {
    programs: Programs,
    explanation: Mutex<PerCpuArray<MapData, Decision>>,
    filter: Mutex<Array<MapData, TraceFilter>>,
    events: Mutex<Option<Events>>,
}

impl Watcher {
    pub(crate) fn open(programs: &Programs) -> Result<Self, DatapathError> {
        let mut ebpf = lock(programs);
        let failed = |name| move |error| DatapathError::table(name, error);
        let explanation = PerCpuArray::try_from(take_map(&mut ebpf, maps::EXPLANATION)?)
            .map_err(failed(maps::EXPLANATION))?;
        let filter = Array::try_from(take_map(&mut ebpf, maps::TRACE_FILTER)?)
            .map_err(failed(maps::TRACE_FILTER))?;
        let ring = RingBuf::try_from(take_map(&mut ebpf, maps::TRACE_EVENTS)?)
            .map_err(failed(maps::TRACE_EVENTS))?;
        let lost = PerCpuArray::try_from(take_map(&mut ebpf, maps::TRACE_LOST)?)
            .map_err(failed(maps::TRACE_LOST))?;
        Ok(Self {
            programs: programs.clone(),
            explanation: Mutex::new(explanation),
            filter: Mutex::new(filter),
            events: Mutex::new(Some(Events::new(ring, lost))),
        })
    }

    /// Runs the packet path over `frame`, as if it had arrived at `interface`, without side
    /// effects.
    ///
    /// # Errors
    ///
    /// There is no such interface, the frame does not fit into a page, or the kernel refuses the
    /// program.
    pub fn explain(&self, frame: &[u8], interface: &str) -> Result<Explained, DatapathError> {
        let ingress = ifindex::interface_index(interface)?;
        let failed = |error| DatapathError::table(maps::EXPLANATION, error);
        let mut place = self.explanation.lock().unwrap_or_else(PoisonError::into_inner);
        place.set(0, none()?, 0).map_err(failed)?;
        let mut ebpf = lock(&self.programs);
        let program = loaded(&mut ebpf, programs::EXPLAIN)?;
        let trial = test_run::run(program, programs::EXPLAIN, frame, ingress)?;
        // The program ran on one of the CPUs.
        let decisions = place.get(&0, 0).map_err(failed)?;
        let decision = decisions.iter().find(|decision| decision.at != 0).copied();
        let missing = DatapathError::Missing { kind: "decision", name: maps::EXPLANATION };
        Ok(Explained { decision: decision.ok_or(missing)?, frame: trial.frame })
    }

    /// Prepares tracing: returns the program to attach instead of the balancer, and its events.
    /// `None` if another trace has the events.
    ///
    /// # Errors
    ///
    /// The kernel refuses the program or the filter.
    pub fn prepare(&self, filter: TraceFilter) -> Result<Option<(Tracer, Events)>, DatapathError> {
        let mut place = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut events) = self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
        else {
            return Ok(None);
        };
        let mut ready = || {
            let failed = |error| DatapathError::table(maps::TRACE_FILTER, error);
            place.set(0, filter, 0).map_err(failed)?;
            let mut ebpf = lock(&self.programs);
            let program = loaded(&mut ebpf, programs::TRACE)?;
            let fd = program.fd().and_then(|fd| Ok(fd.try_clone()?));
            fd.map_err(|error| DatapathError::program(programs::TRACE, error))
        };
        let ready = ready().and_then(|fd| events.begin().map(|()| Tracer(fd)));
        match ready {
            Ok(tracer) => Ok(Some((tracer, events))),
            Err(error) => {
                self.return_events(events);
                Err(error)
            }
        }
    }

    /// Takes the events back after a trace.
    pub fn return_events(&self, events: Events) {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = Some(events);
    }
}

/// The balancer with a report of each packet.
pub struct Tracer(pub(crate) ProgramFd);

fn none() -> Result<PerCpuValues<Decision>, DatapathError> {
    let failed = |error: io::Error| DatapathError::table(maps::EXPLANATION, error);
    let cpus = nr_cpus().map_err(|(_, error)| failed(error))?;
    PerCpuValues::try_from(vec![Decision::default(); cpus]).map_err(failed)
}

fn loaded<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, DatapathError> {
    let program = ebpf.program_mut(name).and_then(|program| <&mut Xdp>::try_from(program).ok());
    let program = program.ok_or(DatapathError::Missing { kind: "XDP program", name })?;
    if program.fd().is_err() {
        program.load().map_err(|error| DatapathError::program(name, error))?;
    }
    Ok(program)
}
