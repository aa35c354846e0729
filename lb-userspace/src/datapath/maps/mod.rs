//! The kernel's tables: applies commands, reads contents and counters. Imports `bpf`.

pub(crate) mod config;
pub(crate) mod contents;
pub(crate) mod counters;
pub(crate) mod declared_ports;
pub(crate) mod kernel_tables;
