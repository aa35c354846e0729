//! Composes the daemon: the one module that sees everything.

mod assembly;
mod privilege;
mod report;
mod signals;
mod sizing;
mod steering;
mod sweeping;
