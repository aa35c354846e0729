//! What the operator is told: explanations, lists, traces, status, warnings.

pub(crate) mod drop_remedies;
pub(crate) mod dry_run;
pub(crate) mod explain;
pub(crate) mod flow_list;
pub(crate) mod status_report;
pub(crate) mod trace;
pub(crate) mod warnings;
