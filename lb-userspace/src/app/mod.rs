//! Composes the daemon: the one module that sees everything.
//!
//! In rooms, each of which imports only those before it:
//! `process, state → reconcile → operator → daemon`, and `commands` beside the daemon.

mod commands;
mod daemon;
mod operator;
mod process;
mod reconcile;
mod state;

pub use self::{
    commands::{
        decap::{DecapOptions, decap},
        detach::{Detached, detach},
    },
    daemon::start::{is_running, run},
    operator::{
        dry_run::{examine, refusals},
        warnings::{flows_per_server, warnings},
    },
    reconcile::{
        answer_paths::missed_answers, neighbour_answers::link_warnings, sweep::pause_after,
    },
    state::{id_log::IdLog, last_good::ConfigText, store::StateStore},
};
