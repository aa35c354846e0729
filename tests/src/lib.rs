//! Shared by the end-to-end tests, the demo and the benches: namespaces, the lab, real servers and
//! clients, the daemon.

pub mod actors;
pub mod bench_control;
pub mod bench_lab;
pub mod bench_proxy;
pub mod bench_xdp;
pub mod daemon;
pub mod demo;
mod dice;
pub mod fuzz_xdp;
pub mod kernel;
pub mod kernel_check;
pub mod lab;
pub mod measure;
pub mod torture;
