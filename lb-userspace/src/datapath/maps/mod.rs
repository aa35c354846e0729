//! The kernel's tables: commands carried out, contents read back, counters.

pub(crate) mod contents;
pub(crate) mod counters;
pub(crate) mod declared_ports;
pub(crate) mod kernel_tables;
