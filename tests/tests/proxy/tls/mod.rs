//! Handshakes, and what is relayed behind them.

mod announced;
mod certificates;
mod handshake;
mod names;
mod postgres;
mod relaying;
