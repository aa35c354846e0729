//! The kernel half: loads and attaches the programs, fills the maps, sweeps flows, reads counters.
//! The only module that uses aya. Imports the values that modules share.

mod bpf;
mod decap;
mod explain;
mod flows;
mod ingress;
mod maps;
mod open;
mod persist;
mod program;

pub use self::{
    bpf::{clock, error::DatapathError, ifindex::interface_name},
    decap::Decap,
    explain::{Events, Explained, ForwardedFrame, ProbeFrame, Tracer, Watcher, echo},
    flows::{
        client_sample::ClientSample,
        flow_table::FlowTable,
        lifetimes::Lifetimes,
        referenced_ids::ReferencedIds,
        sweeper::{Population, ServerAnswers, Sweep, Sweeper},
    },
    ingress::ingress_interface,
    maps::{
        config::DatapathConfig,
        counters::{Counters, Evictions, VerdictCounts},
        declared_ports::DeclaredPorts,
        kernel_tables::KernelTables,
    },
    open::{Datapath, Generation},
    persist::pins::{Pins, RemovedPins},
    program::{image::OBJECT, kernel::Kernel, repair::Damage},
};
