//! The `lb` load balancer's userspace half.
//!
//! `exhaustion, files, interface, objects, service, settings, load, fleet, tables ← {admin,
//! balance, change, config, control, datapath, handover, health, host, providers, proxy} ← app ←
//! cli`: the modules in braces do not import each other; `app` carries values and channels between
//! them.

pub mod admin;
pub mod app;
pub mod balance;
pub mod change;
pub mod cli;
pub mod config;
pub mod control;
pub mod datapath;
pub mod exhaustion;
pub mod files;
pub mod fleet;
pub mod handover;
pub mod health;
pub mod host;
pub mod interface;
pub mod load;
pub mod objects;
pub mod providers;
pub mod proxy;
pub mod service;
pub mod settings;
pub mod tables;
