//! System calls and types of BPF: maps, links, errors.

pub(crate) mod batch;
pub mod clock;
pub(crate) mod error;
pub(crate) mod ifindex;
pub(crate) mod link;
pub(crate) mod mapped_array;
pub(crate) mod sys;
pub(crate) mod typed_map;
