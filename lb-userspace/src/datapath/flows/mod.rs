//! The flow table in our memory, and the sweeper that ends idle flows. Imports `bpf` and `maps`.

pub(crate) mod client_sample;
pub(crate) mod count_drift;
pub(crate) mod expiry;
pub(crate) mod flow_table;
pub(crate) mod lifetimes;
pub(crate) mod orphan_answers;
pub(crate) mod referenced_ids;
pub(crate) mod sweeper;
