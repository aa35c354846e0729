//! Shared by the end-to-end tests, the demo and the benches: namespaces, the lab, real servers and
//! clients, the daemon.

pub mod bench_control;
pub mod bench_lab;
pub mod bench_proxy;
pub mod bench_xdp;
pub mod certificates;
pub mod client;
pub mod config;
pub mod content;
pub mod cpu;
pub mod crowd;
pub mod daemon;
pub mod decap;
pub mod demo;
pub mod diagnosis;
pub mod far_end;
pub mod flood;
pub mod fuzz_xdp;
pub mod held;
pub mod interrupt;
pub mod iperf;
pub mod kernel;
pub mod map_bytes;
pub mod mirror;
pub mod netns;
pub mod postgres;
pub mod process;
pub mod receivers;
pub mod recorder;
pub mod servers;
pub mod snapshot;
pub mod stage;
pub mod status;
pub mod steered;
pub mod talk;
pub mod topology;
