//! BPF system calls and types: maps, links, errors. Imports no other room of the datapath.

pub(crate) mod batch;
pub mod clock;
pub(crate) mod error;
pub(crate) mod ifindex;
pub(crate) mod link;
pub(crate) mod mapped_array;
pub(crate) mod programs;
pub(crate) mod sys;
pub(crate) mod test_run;
pub(crate) mod typed_map;
