//! The real `lb`: its configuration, its process, its status.

pub mod api;
pub mod config;
pub mod decap;
pub mod direct;
pub mod process;
pub mod status;
