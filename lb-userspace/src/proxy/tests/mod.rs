//! The proxy as it runs, on loopback, between real clients and real backends. Every test ends with
//! `Lab::finish`, which demands that all load has gone back to zero.

mod actors;
mod backends;
mod connections;
mod fuzz;
mod messages;
mod tls;
