//! Clients and servers, real ones where there are any.

pub mod certificates;
pub mod client;
pub mod content;
pub mod crowd;
pub mod flood;
pub mod held;
pub mod iperf;
pub mod postgres;
pub mod receivers;
pub mod recorder;
pub mod servers;
pub mod talk;
pub mod traffic;
