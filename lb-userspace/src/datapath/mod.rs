//! The kernel half: load, attach, maps, sweeper, counters. The only module that knows aya.

mod adopt;
mod attach;
mod batch;
pub mod clock;
mod contents;
mod counters;
mod decap;
mod declared;
mod drift;
mod error;
mod expiry;
mod flow_table;
mod ifindex;
mod ingress;
mod intact;
mod kernel;
#[cfg(feature = "kernel-log")]
mod kernel_log;
mod lifetimes;
mod link;
mod load;
mod loaded;
mod mapped;
mod named;
mod object;
mod open;
mod orphans;
mod permits;
mod pins;
mod sample;
mod seed;
mod stamp;
mod sweeper;
mod sys;
mod table;
mod tables;
mod trial;
mod watch;

pub use self::{
    counters::{Counters, Evictions, Verdicts},
    decap::Decap,
    declared::Declared,
    error::DatapathError,
    flow_table::FlowTable,
    ifindex::interface_name,
    ingress::ingress_interface,
    intact::Damage,
    kernel::Kernel,
    lifetimes::Lifetimes,
    load::DatapathConfig,
    named::Named,
    object::OBJECT,
    open::Datapath,
    pins::{Pins, Removed},
    sample::Sample,
    sweeper::{Heard, Population, Sweep, Sweeper},
    tables::Tables,
    watch::{Events, Explained, Leaving, Probe, Tracer, Watcher, echo},
};
