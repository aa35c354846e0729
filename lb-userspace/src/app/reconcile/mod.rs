//! Keeps the kernel's tables, the host and the servers as the configuration wants them, with one
//! file for each part.

pub(crate) mod address_conflicts;
pub(crate) mod answer_paths;
pub(crate) mod certificates;
pub(crate) mod check_routes;
pub(crate) mod drains;
pub(crate) mod fleet_builder;
pub(crate) mod host_changes;
pub(crate) mod interfaces;
pub(crate) mod leaver_checks;
pub(crate) mod neighbour_answers;
pub(crate) mod reconciler;
pub(crate) mod removals;
pub(crate) mod repairs;
pub(crate) mod ring_changes;
pub(crate) mod sources;
pub(crate) mod sweep;
pub(crate) mod table_sizes;
